"""Makes a report of a run in which much happened: for tests of what is rendered from report.json alone.

Figures of the load come from a synthetic run. Faults, failure scenarios, their timelines and the notes are
put in as a main job of the harness writes them.
"""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fixtures.synthetic_run import NS, START, Shape, synthetic_rows, write_run
from harness.documents.report import Report
from harness.documents.rows import ObjectiveRow
from harness.report import write_reports
from harness.sla.policy import load_policy


def document_of(report: Report) -> dict[str, Any]:
    """Return a report as report.json holds it, to be looked at or spoiled."""
    document: dict[str, Any] = json.loads(report.text())
    assert Report.model_validate(document) == report
    return document


def report_of(document: dict[str, Any]) -> Report:
    """Return the report that a document amounts to; its verdicts follow from its figures."""
    plain = copy.deepcopy(document)
    for row in (*plain["objectives"], *plain["integrity"], plain["measurement"], plain):
        row.pop("verdict", None)
    return Report.model_validate(plain)


def latency_row(**figures: Any) -> ObjectiveRow:
    """Return the row of a latency that is promised to be under a second; 100 samples."""
    row = {
        "name": "latency", "title": "Latency", "metric": "broadcast_latency", "kind": "quantile", "unit": "s",
        "quantile": 0.95, "comparison": "<", "threshold": 1.0, "source": "here", "confidence": 0.95,
        "samples": 100, "measured": 1.03, "interval": [0.9, 1.2],
    }  # fmt: skip
    return ObjectiveRow.model_validate(row | figures)


def loaded_report(folder: Path, shape: Shape) -> dict[str, Any]:
    """Return report.json of a good load run, whose runs lie in ``folder``."""
    return document_of(write_reports(write_run(folder, synthetic_rows(shape), shape), load_policy()))


def eventful(
    report: dict[str, Any], scenarios: int = 6, bins: int = 30, expectations: int = 21
) -> dict[str, Any]:
    """Return ``report`` with two faults during its load, and with failure scenarios of ``bins`` seconds.

    One fault was not recovered from. The second scenario failed, the third could not be judged, the fourth
    was skipped; the others passed.
    """
    report = with_faults(
        report,
        fault("network:latency load-service", 12, 20, [expectation("health is healthy again", 0.42)]),
        fault(
            "network:down service-pubnub", 26, 34, [unheard(), unseen(), expectation("it serves again", 1.5)]
        ),
    )
    outcomes = ["passed", "failed", "inconclusive", "skipped"] + ["passed"] * scenarios
    for number, outcome in enumerate(outcomes[:scenarios]):
        add_scenario(report, f"pubnub_outage.number_{number}[with_a_parameter]", outcome, bins, expectations)
    report["notes"] = ["The games can't be shown: KeyError: <b>'game-3'</b>"]
    return report


def with_faults(report: dict[str, Any], *faults: dict[str, Any]) -> dict[str, Any]:
    """Return ``report`` with ``faults`` that were on during its load."""
    return copy.deepcopy(report) | {"faults": list(faults)}


def add_scenario(
    report: dict[str, Any], name: str, outcome: str, bins: int = 30, expectations: int = 21
) -> None:
    """Add a scenario of ``bins`` seconds to ``report``, with its fault."""
    report["scenarios"].append(a_scenario(name, outcome, bins))
    if outcome != "skipped":
        found = [expectation(f"expectation {n} holds while it lasts", n / 10) for n in range(expectations)]
        found[0] = {"failed": unheard(), "inconclusive": unseen()}.get(outcome, found[0])
        report["faults"].append(fault("network:down service-pubnub", 10, 20, found, name))


def fault(
    name: str, start_s: float, end_s: float, found: list[dict[str, Any]], scenario: str | None = None
) -> dict[str, Any]:
    """Return a fault that lasted from one second of the run to another."""
    return {
        "name": name,
        "place": name.partition(":")[0],
        "scenario": scenario,
        "started_at": moment(start_s),
        "ended_at": moment(end_s),
        "expectations": found,
        "detected_after_s": 0.71,
        "recovered_after_s": 2.5,
        "error": None,
    }


def expectation(name: str, measured: float | None, **fields: Any) -> dict[str, Any]:
    """Return an expectation that was met, with ``fields`` replaced."""
    return {
        "name": name,
        "verdict": "pass",
        "measured": measured,
        "threshold": 15.0,
        "unit": "s",
        "explanation": "48 transitions, 96 deliveries",
        "examples": [],
    } | fields


def unheard() -> dict[str, Any]:
    """Return an expectation that was not met, with rows that broke it."""
    example = {
        "name": "phase_changed", "actor": "player-3", "game": "game-17", "event": "game-17-event-2",
        "error": "timeout", "committed": moment(27.123),
    }  # fmt: skip
    return expectation(
        "the backlog is drained within 15 s of its end",
        None,
        verdict="fail",
        explanation="never; 48 transitions, 96 deliveries; 2 deliveries never came",
        examples=[example, example | {"actor": "player-4", "received": moment(29.4)}],
    )


def unseen() -> dict[str, Any]:
    """Return an expectation that nothing was seen of."""
    why = "not exercised: nobody asked for <health> | while it lasted"
    return expectation("health names pubnub in time", None, verdict="inconclusive", explanation=why)


def a_scenario(name: str, outcome: str, bins: int) -> dict[str, Any]:
    """Return a scenario with its timeline."""
    command = f"pytest 'scenarios/failure/test_{name}'"
    messages = {
        "failed": "fail: the backlog is drained within 15 s of its end: measured nothing (never)\n"
        "    name phase_changed, actor player-3, game game-17\n"
        f"record: reports/20261123-210000-0000-synthetic/testbeds/{name}\nagain: {command}",
        "inconclusive": "inconclusive: health names pubnub in time: not exercised",
        "skipped": "needs `PUBNUB_ORIGIN` | and <keys>",
    }
    return {
        "id": name,
        "outcome": outcome,
        "seconds": 21.5,
        "message": messages.get(outcome),
        "command": command,
        "timeline": None if outcome == "skipped" else timeline(bins),
    }


def timeline(bins: int) -> dict[str, Any]:
    """Return a timeline of bins of a second, in which an outage goes by in its middle third."""
    out = range(bins // 3, 2 * bins // 3)

    def series(panel: str, title: str, unit: str, settled: float, shaken: float | None) -> dict[str, Any]:
        values = [shaken if second in out else settled * (1 + second % 7 / 10) for second in range(bins)]
        return {"panel": panel, "title": title, "unit": unit, "values": values}

    return {
        "start_ms": START // 1_000_000,
        "bin_s": 1,
        "bins": bins,
        "windows": [],
        "series": [
            *(series("latency", f"broadcast p{q}", "s", 0.02 + q / 5000, None) for q in (50, 95, 99)),
            series("monitor", "tick p95", "s", 0.03, 0.04),
            *(series("http", f"request p{q}", "s", 0.003 + q / 9000, 0.2) for q in (50, 95)),
            series("throughput", "requests", "per s", 40, 38),
            series("throughput", "deliveries", "per s", 12, 0),
            series("throughput", "transitions", "per s", 6, 6),
            series("errors", "failed requests", "per s", 0, 2),
            series("outbox", "events waiting", "events", 0, 31),
            series("pool", "connections in use", "connections", 2, 9),
            series("pool", "pool size", "connections", 20, 20),
            series("breaker", "0 closed, 1 half-open, 2 open", "state", 0, 2),
        ],
    }


def moment(second: float) -> str:
    """Return a second of the run as RFC 3339."""
    return datetime.fromtimestamp(START / NS + second, UTC).isoformat(timespec="milliseconds")
