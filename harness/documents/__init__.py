"""The documents of a run as models: what each holds, and the verdicts that follow from it.

Their JSON Schemas lie in ``schemas/`` and are made by ``python -m harness.documents``.
"""
