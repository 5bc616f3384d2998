"""Markdown, JUnit and terminal of a run with faults not recovered from and scenarios that did not pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from fixtures.synthetic_run import Shape
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import print_summary
from harness.tests.synthetic_report import (
    add_scenario,
    eventful,
    expectation,
    fault,
    loaded_report,
    report_of,
    unseen,
    with_faults,
)

GOLDEN = Path(__file__).parent / "golden"
FIXED_RUN = {
    "id": "20261123-210000-0000-golden", "kind": "golden", "started_at": "2026-11-23T21:00:00.000+00:00",
    "finished_at": "2026-11-23T21:00:50.000+00:00", "versions": {"python": "3.11.0"},
    "machine": {"system": "Linux", "cores": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return loaded_report(tmp_path_factory.mktemp("reports"), Shape(games_at_once=20, seconds=40))


@pytest.fixture
def failing(report: dict[str, Any]) -> dict[str, Any]:
    return eventful(report)


@pytest.fixture
def inconclusive(report: dict[str, Any]) -> dict[str, Any]:
    """Too short a run: objectives, a fault's recovery and a scenario that can't be judged, and a note."""
    found = with_faults(
        report, fault("network:down service-pubnub", 26, 34, [expectation("it serves again", 1.5), unseen()])
    )
    add_scenario(found, "pubnub_outage.refused", "passed")
    add_scenario(found, "pubnub_outage.black_hole", "inconclusive")
    found["notes"] = ["The games can't be shown: KeyError: <b>'game-3'</b>"]
    found["run"] |= FIXED_RUN
    assert report_of(found).verdict == "inconclusive"
    return found


def terminal(report: dict[str, Any], width: int = 110) -> str:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=width, file=nowhere)
        print_summary(report_of(report), console)
        return console.export_text()


VIEWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "report.md": lambda document: render_markdown(report_of(document)),
    "junit.xml": lambda document: render_junit(report_of(document)),
    "terminal.txt": terminal,
}


@pytest.mark.parametrize("view", VIEWS)
def test_the_views_of_an_inconclusive_run_are_as_they_were_agreed(
    view: str, inconclusive: dict[str, Any]
) -> None:
    text = VIEWS[view](inconclusive)
    golden = GOLDEN / f"inconclusive-{view}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), (
        f"differs from {golden.name}; if that is meant, run with UPDATE_GOLDEN=1"
    )


def test_markdown_says_why_a_fault_was_not_recovered_from(failing: dict[str, Any]) -> None:
    text = render_markdown(report_of(failing))
    assert "**network:down service-pubnub**: ❌ fail. the backlog is drained within 15 s of its end" in text
    assert "  - phase_changed, actor player-3, game game-17, event game-17-event-2, error timeout" in text
    assert "nobody asked for &lt;health> \\| while it lasted" in text
    assert "network:latency load-service" not in text  # it was recovered from


def test_markdown_says_why_a_scenario_did_not_pass_and_how_to_run_it_again(failing: dict[str, Any]) -> None:
    failing["scenarios"][1]["message"] += "\n" + "\n".join(f"line {n}" for n in range(9))
    text = render_markdown(report_of(failing))
    block = text.split("- **`pubnub_outage.number_1[with_a_parameter]`**: ❌ failed.\n")[1].split("\n- ")[0]
    lines = block.splitlines()
    assert lines[0] == "  - fail: the backlog is drained within 15 s of its end: measured nothing (never)"
    assert lines[4] == "  - and 8 lines more"
    assert lines[5].startswith("  - again: `pytest 'scenarios/failure/test_pubnub_outage.number_1")
    assert "**`pubnub_outage.number_3[with_a_parameter]`**: ➖ skipped" in text
    assert "**`pubnub_outage.number_0" not in text


def test_junit_has_a_case_for_each_expectation_of_the_loads_faults(failing: dict[str, Any]) -> None:
    root = ET.fromstring(render_junit(report_of(failing)))
    suite = next(suite for suite in root if suite.get("name") == "recovery")
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "0"]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "measured nothing, threshold 15 s (never" in (failure.get("message") or "")
    assert "game game-17" in (failure.text or "")


def test_junit_has_the_first_line_of_a_scenario_as_message_and_all_of_it_as_text(
    failing: dict[str, Any],
) -> None:
    root = ET.fromstring(render_junit(report_of(failing)))
    failure = root.find("testsuite[@name='scenarios']/testcase/failure")
    assert failure is not None
    assert failure.get("message") == (
        "fail: the backlog is drained within 15 s of its end: measured nothing (never)"
    )
    assert (failure.text or "").splitlines()[-1].startswith("again: pytest")
    assert (failure.text or "").count("again: ") == 1


def test_the_terminal_says_each_reason_in_a_line_that_can_be_copied(failing: dict[str, Any]) -> None:
    lines = terminal(failing, width=60).splitlines()
    cause = "✗ network:down service-pubnub: the backlog is drained within 15 s of its end: measured nothing"
    assert any(line.startswith(cause) for line in lines)
    told = next(number for number, line in enumerate(lines) if line.startswith("✗ pubnub_outage.number_1"))
    assert lines[told].endswith("measured nothing (never)")
    commands = [one.command for one in report_of(failing).scenarios if one.command]
    assert lines[told + 1].removeprefix("  again: ") in commands


def test_every_view_names_what_was_left_behind(failing: dict[str, Any]) -> None:
    left = "a watch is left in the database: DROP SCHEMA stormwatch_watch_1"
    failing["run"] |= {"left_behind": left}
    page = render_html(report_of(failing))
    for text in (terminal(failing), render_markdown(report_of(failing)), page):
        assert left in text.replace("\\_", "_")


def test_every_view_speaks_of_the_systems_items(failing: dict[str, Any]) -> None:
    words = {"item": "lot", "items": "lots", "player": "bidder", "players": "bidders"}
    failing["run"] |= {"system": failing["run"]["system"] | {"words": words}}
    shown = report_of(failing)
    told = "phase_changed, actor player-3, lot game-17, event game-17-event-2, error timeout"
    assert told in render_markdown(shown)
    assert told in render_junit(shown)
    page = render_html(shown)
    assert told in page
    assert '<h2 id="games-title">The worst lots</h2>' in page
    assert "a bidder heard of it" in page
