"""A report over OTLP/HTTP: run, windows and faults as spans, objectives as metrics.

``OTEL_EXPORTER_OTLP_HEADERS`` has headers for the collector, such as a token. The packages are optional
(``stormwatch[otlp]``), and imported when something is sent.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from harness.documents.report import Report

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

#: How long a collector may take to take each of the two.
_LIMIT_S: Final = 5.0
_NS: Final = 1_000_000_000

#: An attribute's name -> its value.
Attributes = Mapping[str, str | float | bool]


class OtlpError(Exception):
    """A report can't be sent; the message says why, and the way out."""


def see_that_it_can_be_sent(url: str) -> None:
    """See that ``url`` is an address, and that the packages are there.

    Raises
    ------
    OtlpError
        It is none, or one is not.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if parts and "@" in parts.netloc:
        raise OtlpError(
            "--otlp: take the name and password out of the address (up to the @): "
            "OTEL_EXPORTER_OTLP_HEADERS takes what the collector is told besides"
        )
    if not usable:
        raise OtlpError(f"--otlp: {url!r} is not the address of a collector, such as http://127.0.0.1:4318")
    try:
        import_module("opentelemetry.exporter.otlp.proto.http")
    except ImportError as error:
        raise OtlpError(f"--otlp needs more packages: pip install 'stormwatch[otlp]' ({error})") from error


def send(report: Report, url: str) -> None:
    """Send a report to the collector at ``url``, without ``/v1/traces``.

    Raises
    ------
    OtlpError
        It does not take it.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": "stormwatch", "stormwatch.run": report.run.id})
    base = url.rstrip("/")
    with _said() as told:
        traces = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=_LIMIT_S)
        metrics = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=_LIMIT_S)
        results = {
            traces.export(_spans(report, resource)).name,
            metrics.export(_metrics(report, resource)).name,
        }
    if results != {"SUCCESS"}:
        raise OtlpError(f"--otlp: {url} did not take the report: {told[0] if told else 'no answer in time'}")


@contextmanager
def _said() -> Iterator[list[str]]:
    """Collect what the exporters would log."""
    told: list[str] = []

    class _Collected(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    log, handler = logging.getLogger("opentelemetry"), _Collected(logging.WARNING)
    propagated, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield told
    finally:
        log.removeHandler(handler)
        log.propagate = propagated


def _spans(report: Report, resource: Resource) -> tuple[ReadableSpan, ...]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import set_span_in_context

    provider, kept = TracerProvider(resource=resource, shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("stormwatch")
    windows, run_from, run_to = report.run.windows or (), report.run.started_at, report.run.finished_at
    times = [_ns(run_from), _ns(run_to or report.generated_at)]
    times += [at for window in windows for at in (window.start_ns, window.end_ns)]
    known = [at for at in times if at is not None]
    about = {"verdict": report.verdict, "command": report.run.command, "seed": report.run.seed}
    attributes = {f"stormwatch.{name}": value for name, value in about.items() if value is not None}
    run = tracer.start_span("run", start_time=min(known), attributes=attributes)
    within = set_span_in_context(run)

    def note(name: str, start_ns: int | None, end_ns: int | None, attributes: Attributes) -> None:
        if start_ns is not None:
            span = tracer.start_span(name, within, start_time=start_ns, attributes=attributes)
            span.end(end_ns or max(known))

    for window in windows:
        note(window.name, window.start_ns, window.end_ns, {})
    for fault in report.faults:
        told = {"stormwatch.verdict": fault.verdict, "stormwatch.scenario": fault.scenario or ""}
        note(f"fault {fault.name}", _ns(fault.started_at), _ns(fault.ended_at), told)
    run.end(max(known))
    return tuple(kept.get_finished_spans())


def _metrics(report: Report, resource: Resource) -> MetricsData:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    meter = provider.get_meter("stormwatch")
    names = ("measured", "low", "high", "limit", "samples")
    gauges = {name: meter.create_gauge(f"stormwatch.objective.{name}") for name in names}
    for row in report.objectives:
        about = {
            "objective": row.name,
            "unit": row.unit,
            "comparison": row.comparison,
            "verdict": row.verdict,
        }
        low, high = row.interval
        values = (row.measured, low, high, row.threshold, row.samples)
        for name, value in zip(names, values, strict=True):
            if value is not None and math.isfinite(value):
                gauges[name].set(value, about)
    violations = meter.create_gauge("stormwatch.integrity.violations")
    for rule in report.integrity:
        violations.set(rule.violations, {"rule": rule.name, "verdict": rule.verdict})
    return reader.get_metrics_data() or MetricsData([])


def _ns(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * _NS)
