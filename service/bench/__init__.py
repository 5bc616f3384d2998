"""How fast the service is, as ratios measured side by side: `python -m service.bench`.

Like the tests, it stands on real parts that the harness starts; the service itself imports nothing of it.
"""
