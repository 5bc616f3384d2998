"""What a run shows while it goes on: the objectives so far, with their intervals, and what is broken now.

A process of its own (``python -m harness.live RUN``), at the lowest priority, follows the history as it
grows, judges it by the report's own checks, and writes ``live.json`` into the run's folder. The terminal
and the tab in Locust's web UI read that file and nothing else.
"""
