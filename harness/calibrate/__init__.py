"""Truth of the measurement: known delays and losses, compared with what the harness reports of them.

The way is that of every failure experiment: a testbed (stack, load, observers), faults, a history, checks.
``plan`` says what to inject and what is allowed · ``inject`` injects it into a testbed · ``measure`` takes
samples from the evidence by the checks of the objectives · ``judge`` makes three-valued rows of them, which
become ``calibration.json``. ``report`` reads that.
"""
