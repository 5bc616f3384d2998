"""A report as an OpenTelemetry collector gets it, read with OpenTelemetry's own protobuf."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fixtures.synthetic_run import Shape
from harness.documents.report import Report
from harness.report.otlp import OtlpError, see_that_it_can_be_sent, send
from harness.tests.synthetic_report import eventful, loaded_report, report_of


@contextmanager
def collector(status: int = 200) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the address of a collector, and what it got by path."""
    got: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            got[self.path] = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    shape = Shape(games_at_once=10, seconds=20)
    return report_of(eventful(loaded_report(tmp_path_factory.mktemp("otlp"), shape), bins=2, expectations=2))


@pytest.fixture(scope="module")
def sent(report: Report) -> dict[str, bytes]:
    with collector() as (url, got):
        send(report, f"{url}/")
    return got


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}


def test_run_windows_and_faults_are_spans_with_their_own_times(
    report: Report, sent: dict[str, bytes]
) -> None:
    (resource,) = ExportTraceServiceRequest.FromString(sent["/v1/traces"]).resource_spans
    assert attributes(resource.resource)["stormwatch.run"] == report.run.id
    spans = resource.scope_spans[0].spans
    (run,) = [span for span in spans if span.name == "run"]
    assert attributes(run)["stormwatch.verdict"] == report.verdict
    inner = [span for span in spans if span.name != "run"]
    assert {(span.trace_id, span.parent_span_id) for span in inner} == {(run.trace_id, run.span_id)}
    windows = [(one.name, one.start_ns, one.end_ns) for one in report.run.windows or ()]
    times = [(span.name, span.start_time_unix_nano, span.end_time_unix_nano) for span in inner]
    assert [one for one in times if not one[0].startswith("fault ")] == windows
    faults = [span.name for span in inner if span.name.startswith("fault ")]
    assert faults == [f"fault {fault.name}" for fault in report.faults]
    assert all(run.start_time_unix_nano <= span.start_time_unix_nano for span in inner)
    assert all(span.end_time_unix_nano <= run.end_time_unix_nano for span in inner)


def test_objectives_and_integrity_are_metrics(report: Report, sent: dict[str, bytes]) -> None:
    (resource,) = ExportMetricsServiceRequest.FromString(sent["/v1/metrics"]).resource_metrics
    found = {
        (metric.name, attributes(point).get("objective", attributes(point).get("rule"))): point
        for metric in resource.scope_metrics[0].metrics
        for point in metric.gauge.data_points
    }
    for row in report.objectives:
        limit = found["stormwatch.objective.limit", row.name]
        assert (limit.as_double, attributes(limit)["verdict"]) == (row.threshold, row.verdict)
    measured = next(row for row in report.objectives if row.measured)
    assert found["stormwatch.objective.measured", measured.name].as_double == measured.measured
    for rule in report.integrity:
        assert found["stormwatch.integrity.violations", rule.name].as_int == rule.violations


def test_a_collector_that_refuses_is_named_with_its_answer(report: Report) -> None:
    with collector(status=400) as (url, _), pytest.raises(OtlpError, match=r"did not take the report: .*400"):
        send(report, url)


@pytest.mark.parametrize(
    "url", ["", "collector:4318", "grpc://127.0.0.1:4317", "http://", "http://127.0.0.1:x"]
)
def test_what_is_no_address_is_refused_before_anything_starts(url: str) -> None:
    with pytest.raises(OtlpError, match="is not the address of a collector"):
        see_that_it_can_be_sent(url)


def test_a_password_in_an_address_is_refused_and_not_told() -> None:
    with pytest.raises(OtlpError, match="take the name and password out") as refused:
        see_that_it_can_be_sent("https://me:s3cret@collector.example")
    assert "s3cret" not in str(refused.value)


def test_packages_that_are_not_there_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(OtlpError, match=r"pip install 'stormwatch\[otlp\]'"):
        see_that_it_can_be_sent("http://127.0.0.1:4318")


def test_nobody_waits_for_them_who_sends_nothing() -> None:
    look = "import sys, harness.report.otlp as _; sys.exit('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0
