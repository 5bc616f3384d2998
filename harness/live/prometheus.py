"""``live.json`` as Prometheus's metrics, for whoever has a dashboard: what ``--prometheus PORT`` serves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final, get_args

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from harness.documents.live import Figures, Live
from harness.documents.verdict import RowVerdict, Verdict

#: Where it listens unless the option says otherwise.
_HOST: Final = "127.0.0.1"

#: Each metric without its prefix ``stormwatch_`` -> what it tells, and its labels.
METRICS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "run_info": ("The run that is shown", ("run",)),
    "run_ended": ("1 once nothing more will come", ()),
    "figures_age_seconds": ("Since the moment as of which the run was judged", ()),
    "verdict": ("1 for the verdict of the run so far, 0 for the others", ("verdict",)),
    "objective_measured": ("What was measured, in seconds or percent", ("objective", "title", "unit")),
    "objective_low": ("Lower bound of its interval", ("objective", "title", "unit")),
    "objective_high": ("Upper bound of its interval", ("objective", "title", "unit")),
    "objective_limit": ("What is promised", ("objective", "title", "unit")),
    "objective_samples": ("Samples so far", ("objective", "title")),
    "objective_verdict": ("1 for the verdict of an objective, 0 for the others", ("objective", "verdict")),
    "integrity_violations": ("Violations of a rule that tolerates none", ("rule", "title")),
    "fault_seconds": ("How long a fault that is on now has been on", ("fault", "scenario")),
}

#: A metric, the values of its labels, its value.
Sample = tuple[str, tuple[str, ...], float | None]


class MetricsRefused(Exception):
    """The metrics can't be served; the message says why, and the way out."""


class LiveMetrics(Collector):
    """A run so far, read whenever it is asked for.

    Parameters
    ----------
    read : returns the run's ``live.json``; None: there is nothing to show.
    """

    def __init__(self, read: Callable[[], Live | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every metric; those of which nothing is known have no samples."""
        live = self._read()
        families = {
            name: GaugeMetricFamily(f"stormwatch_{name}", words, labels=labels)
            for name, (words, labels) in METRICS.items()
        }
        for name, labels, value in _samples(live) if live is not None else ():
            if value is not None:
                families[name].add_metric(labels, value)
        yield from families.values()


@contextmanager
def served(address: str | None, read: Callable[[], Live | None]) -> Iterator[None]:
    """Serve a run's metrics to Prometheus meanwhile.

    Parameters
    ----------
    address : ``PORT`` or ``HOST:PORT``; None: serve nothing.
    read : returns the run's ``live.json``.

    Raises
    ------
    MetricsRefused
        It is no address, or in use.
    """
    if address is None:
        yield
        return
    host, port = _parsed(address)
    registry = CollectorRegistry()
    registry.register(LiveMetrics(read))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise MetricsRefused(
            f"--prometheus can't listen on {host}:{port}: {reason}; choose another port"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise MetricsRefused(
            f"--prometheus: {address!r} is neither a port (9646) nor a host and a port (0.0.0.0:9646)"
        )
    return host.strip("[]") or _HOST, int(port)


def _samples(live: Live) -> Iterator[Sample]:
    yield "run_info", (live.run,), 1.0
    yield "run_ended", (), float(live.ended)
    for fault in live.faults:
        yield "fault_seconds", (fault.name, fault.scenario or ""), fault.for_s
    if live.figures is not None:
        yield from _judged(live.figures)


def _judged(figures: Figures) -> Iterator[Sample]:
    age_s = time.time() - datetime.fromisoformat(figures.judged_at).timestamp()
    yield "figures_age_seconds", (), max(0.0, age_s)
    for verdict in get_args(Verdict):
        yield "verdict", (verdict,), float(verdict == figures.verdict)
    for row in figures.objectives:
        titled = (row.name, row.title)
        low, high = row.interval
        for name, value in (
            ("measured", row.measured),
            ("low", low),
            ("high", high),
            ("limit", row.threshold),
        ):
            yield f"objective_{name}", (*titled, row.unit), value
        yield "objective_samples", titled, float(row.samples)
        for known in get_args(RowVerdict):
            yield "objective_verdict", (row.name, known), float(known == row.verdict)
    for rule in figures.integrity:
        yield "integrity_violations", (rule.name, rule.title), float(rule.violations)
