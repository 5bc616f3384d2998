"""Whether the harness sees what is broken: defective versions of a system are put before it.

``catalogue`` says what a defect is, and finds those of a system · ``trial`` runs the harness on one of them,
by `stormwatch run`, and reads what its report says · ``README.md`` is the newest validation of the reference
service, written by `make validate`.
"""
