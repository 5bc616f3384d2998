"""Truth of the measurement: what is injected on purpose, compared with what the harness reports of it.

The chain is the one of every run: the real service publishes, Toxiproxy and the emulator stand in between,
observer processes listen with the official SDK, rows go into a history, checks make figures of it. Known
delays and losses are injected from outside that chain. Each step meets the others only in data:

``plan`` what to inject · ``driver`` a process that plays and calls, through the harness's own clients ·
``conduct`` injects and tells the driver when · ``measure`` history to samples, by the checks · ``judge``
samples to rows, three-valued · its result is ``calibration.json``, which ``report`` reads.
"""
