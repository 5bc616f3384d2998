"""A validation: what counts as caught, the exit code by it, and where it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.cli import main
from harness.documents.base import read_document
from harness.documents.shown import Healthy, Tried
from harness.documents.validation import NAME, Validation, newest_validation
from harness.files import DocumentError
from harness.history.run import utc_now
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.validation import NONE, complaints, render_summary, summary
from harness.report.write import write_reports
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import (
    add_scenario,
    expectation,
    fault,
    loaded_report,
    report_of,
    unheard,
    unseen,
)
from harness.validate import trial
from harness.validate.catalogue import CatalogueError, Defect, Load, Scenario, load_catalogue
from harness.validate.trial import failed, healthy_runs, left_out, open_rows, try_defect, try_healthy

SHAPE = Shape(games_at_once=5, seconds=20)
EARLY = "integrity early"


def tried(**fields: Any) -> Tried:
    """Return a defect that was tried, and is caught as what it is."""
    usual = {"name": "one", "title": "One", "family": "timers", "run": "load", "seconds": 30.0}
    return Tried(**usual | {"expected": (EARLY,), "caught": (EARLY,)} | fields)


def validated(
    *found: Tried, healthy: tuple[Healthy, ...] = (Healthy(run="load", seconds=20.0),)
) -> Validation:
    return Validation(
        run="20261127-000000-0000-validate",
        started_at=utc_now(),
        finished_at=utc_now(),
        catalogue="here",
        tried=found,
        healthy=healthy,
        versions={},
        machine={},
    )


@pytest.mark.parametrize(
    ("fields", "outcome", "verdict"),
    [
        ({}, "as expected", "pass"),
        ({"caught": ("objective error_rate", EARLY)}, "as expected", "pass"),
        ({"expected": ("integrity e*",)}, "as expected", "pass"),
        ({"caught": ("objective error_rate",)}, "as something else", "fail"),
        ({"caught": ()}, "missed", "fail"),
        ({"caught": (), "error": "its run ended with 4"}, "can't tell", "inconclusive"),
        ({"caught": (), "seconds": None}, "left out", "inconclusive"),
        ({"caught": (), "unseen": "nobody is told"}, "can't be seen", "inconclusive"),
    ],
)
def test_what_came_of_a_defect_and_what_it_is_worth(
    fields: dict[str, Any], outcome: str, verdict: str
) -> None:
    one = tried(**fields)
    assert one.outcome == outcome
    assert validated(one).verdict == verdict
    # Beside one that is caught, what was left out and what can't be seen count for nothing.
    beside = "pass" if outcome in {"left out", "can't be seen"} else verdict
    assert validated(tried(), one).verdict == beside


def test_a_false_alarm_fails_and_a_healthy_run_that_could_not_be_made_leaves_it_open() -> None:
    assert validated(tried(), healthy=(Healthy(run="load", alarms=(EARLY,)),)).verdict == "fail"
    assert validated(tried(), healthy=(Healthy(run="load", error="no report"),)).verdict == "inconclusive"


def test_rows_of_the_service_that_failed_are_named_once_and_doubts_are_none(tmp_path: Path) -> None:
    document = loaded_report(tmp_path, SHAPE)
    assert failed(report_of(document)) == []
    early = next(row for row in document["integrity"] if row["name"] == "early")
    early["violations"] = 3
    document["measurement"]["checks"][0] |= {"verdict": "inconclusive", "explanation": "It was busy."}
    for name, outcome in (("told", "failed"), ("silent", "failed"), ("open", "inconclusive")):
        add_scenario(document, name, outcome, bins=3, expectations=1)
    document["faults"][1]["expectations"] = [expectation("it is quick", 1.0)]
    document["faults"].append(fault("network:down x", 1, 2, [unheard(), unseen()], "told"))
    report = report_of(document)
    drained = "expectation the backlog is drained within 15 s of its end"
    assert failed(report) == [EARLY, drained, "scenario silent"]
    assert "It was busy." in open_rows(report)
    assert "open: inconclusive" in open_rows(report)


def test_the_healthy_system_plays_each_load_and_all_scenarios_in_one_run() -> None:
    load, first, second = Load(("--games=1",)), Scenario("one"), Scenario("two")
    seeded = Scenario("chaos", ("--chaos-seed=7",))
    runs = healthy_runs([Defect("f", run) for run in (load, first, seeded, load, second, first, None)])
    assert runs == [load, seeded, Scenario("one or two")]
    assert runs[2].arguments()[-4:] == ["-k", "one or two", "--workers", "1"]
    assert seeded.environment == {"PYTEST_ADDOPTS": "--chaos-seed=7"}
    assert str(seeded) == "scenario chaos chaos-seed=7"


def test_a_run_that_can_not_be_made_is_neither_caught_nor_missed(tmp_path: Path) -> None:
    defect = Defect("timers", Load(("--gamez=5",)), (EARLY,), name="one", title="One")
    found = try_defect(defect, load_catalogue("fixtures.defects"), tmp_path, Event())
    assert (found.outcome, found.caught) == ("can't tell", ())
    assert "its run ended with 2" in found.error
    assert "--gamez" in found.error


def test_a_row_that_was_not_judged_is_no_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = loaded_report(tmp_path, SHAPE)
    doubted = next(row for row in document["objectives"] if row["name"] == "error_rate")
    monkeypatch.setattr(trial, "_run", lambda *_: report_of(document))
    defect = Defect("doors", Load(()), ("objective error_rate",), name="one", title="One")
    assert try_defect(defect, load_catalogue("fixtures.defects"), tmp_path, Event()).outcome == "missed"
    doubted["doubts"] = ["the machine was busy"]
    found = try_defect(defect, load_catalogue("fixtures.defects"), tmp_path, Event())
    assert (found.outcome, found.error) == ("can't tell", "objective error_rate: the machine was busy")


def test_an_expectation_that_was_not_exercised_is_no_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = loaded_report(tmp_path, SHAPE)
    add_scenario(document, "quiet", "inconclusive", bins=3, expectations=1)
    document["faults"][-1]["expectations"] = [unseen()]
    monkeypatch.setattr(trial, "_run", lambda *_: report_of(document))
    defect = Defect("doors", Scenario("quiet"), (f"expectation {unseen()['name']}",), name="one", title="One")
    found = try_defect(defect, load_catalogue("fixtures.defects"), tmp_path, Event())
    assert (found.outcome, unseen()["explanation"] in found.error) == ("can't tell", True)


# --- the document, and where it is shown ------------------------------------------------------------------


def test_what_was_written_is_read_again_and_one_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    found = validated(tried(caught=()))
    path = tmp_path / "run" / NAME
    path.parent.mkdir()
    path.write_text(found.text(), encoding="utf-8")
    assert read_document(path, Validation, "") == found
    path.write_text(json.dumps(json.loads(found.text()) | {"verdict": "pass"}), encoding="utf-8")
    with pytest.raises(DocumentError, match="says pass, but its figures say fail"):
        read_document(path, Validation, "")
    assert newest_validation(tmp_path) is None


def test_a_report_shows_the_newest_validation_and_is_not_judged_by_it(tmp_path: Path) -> None:
    run = write_run(tmp_path, synthetic_rows(SHAPE), SHAPE)
    before = write_reports(run, load_policy())
    assert NONE in render_markdown(before)
    assert NONE.replace("`", "") in render_html(before)
    for day, caught in (("2026-01-02", (EARLY,)), ("2026-03-04", ("objective error_rate",))):
        found = validated(tried(caught=caught)).model_copy(update={"finished_at": f"{day}T10:20:00+00:00"})
        (tmp_path / day).mkdir()
        (tmp_path / day / NAME).write_text(found.text(), encoding="utf-8")
    report = write_reports(run, load_policy())
    assert report.verdict == before.verdict
    for page in (render_markdown(report), render_html(report)):
        assert "Validated 2026-03-04 10:20 UTC" in page
        assert "One: caught as objective error_rate, not as integrity early." in page


def test_the_sentence_counts_and_the_lines_say_what_is_not_as_it_should_be() -> None:
    found = validated(
        tried(),
        tried(caught=(), told="sparse"),
        tried(caught=(), error="no report"),
        tried(caught=(), seconds=None),
        tried(caught=(), unseen="nobody is told"),
        healthy=(Healthy(run="load", alarms=(EARLY,), seconds=9.0), Healthy(run="scenario one", seconds=9.0)),
    )
    told = summary(found)
    assert "1 of 3 defects caught as what they are, 1 missed, 1 not told for certain, 1 left out" in told
    assert "1 false alarm in 2 healthy runs" in told
    assert complaints(found) == [
        "One: missed (sparse); integrity early was to fail.",
        "One: can't tell: no report.",
        "The healthy system, load: false alarm: integrity early.",
    ]
    page = render_summary(found)
    assert "| `one`: One | load | `integrity early` | ✓ as expected |" in page
    assert "can't be seen from outside: nobody is told" in page


# --- the command and the catalogue -------------------------------------------------------------------------


def outcomes(*, caught: bool = True, alarm: bool = False) -> dict[str, Callable[..., Any]]:
    return {
        "try_defect": lambda defect, *_: left_out(defect).model_copy(
            update={"seconds": 1.0, "caught": defect.caught_as if caught else ()}
        ),
        "try_healthy": lambda run, *_: Healthy(run=str(run), alarms=(EARLY,) if alarm else (), seconds=1.0),
    }


@pytest.mark.parametrize(
    ("faked", "code"),
    [(outcomes(), 0), (outcomes(caught=False), 1), (outcomes(alarm=True), 1)],
    ids=["all caught", "missed", "false alarm"],
)
def test_the_command_shows_writes_and_exits_by_what_was_found(
    faked: dict[str, Callable[..., Any]], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, function in faked.items():
        monkeypatch.setattr(trial, name, function)
    only = ["--only", "early_timers", "--only", "health_lies"]
    arguments = ["validate", "--reports", str(tmp_path), *only, "--summary", str(tmp_path / "page.md")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    (path,) = tmp_path.glob(f"*/{NAME}")
    found = read_document(path, Validation, "")
    assert {one.name for one in found.tried if one.seconds} == {"early_timers", "health_lies"}
    assert len(found.healthy) == 2
    assert "early_timers" in result.output
    assert "`early_timers`" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert not (tmp_path / "latest").exists(), "a validation is no run to be gated"


def test_ctrl_c_shows_what_was_found_and_writes_no_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "try_defect", give_up)
    monkeypatch.setattr(trial, "try_healthy", outcomes(alarm=True)["try_healthy"])
    result = CliRunner().invoke(main, ["validate", "--reports", str(tmp_path), "--only", "early_timers"])
    assert result.exit_code == 130
    assert "false alarm: integrity early" in result.output
    assert "given up" in result.output
    assert list(tmp_path.glob(f"*/{NAME}")) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "early_timer"], "no such defect; near are early_timers"),
        (["--defects", "no.such"], "'no.such' is no catalogue of defects"),
        (["--defects", "fixtures.auction_house"], "has no DEFECT"),
        (["--system", str(Path(__file__).with_name("bare.py"))], "has no `defects`"),
    ],
)
def test_wrong_usage_is_named_and_leaves_no_folder(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORMWATCH_SYSTEM", "")  # what --system sets is taken back
    result = CliRunner().invoke(main, ["validate", "--reports", str(tmp_path), *arguments])
    assert result.exit_code == 2, result.output
    assert named in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_catalogue_is_whole() -> None:
    defects = load_catalogue("fixtures.defects").defects
    assert len(defects) >= 30
    assert len({one.family for one in defects.values()}) == 5
    assert len({one.title for one in defects.values()}) == len(defects)
    assert any(one.unseen for one in defects.values())


def test_a_module_without_a_defect_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_catalogue"
    package.mkdir()
    (package / "__init__.py").write_text("SYSTEM = 'here'\n", encoding="utf-8")
    source = "from harness.validate.catalogue import Defect\nDEFECT = Defect('timers')\n"
    (package / "half.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CatalogueError, match=r"broken_catalogue\.half has no DEFECT that says which run"):
        load_catalogue("broken_catalogue")


def test_the_page_knows_every_defect() -> None:
    page = Path(trial.__file__).with_name("README.md").read_text(encoding="utf-8")
    for name, defect in load_catalogue("fixtures.defects").defects.items():
        assert f"| `{name}`: {defect.title} |" in page, "write it again: make validate"


def test_a_healthy_run_is_told_of_by_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = loaded_report(tmp_path, SHAPE)
    document["integrity"][0]["violations"] = 1
    monkeypatch.setattr(trial, "_run", lambda *_: report_of(document))
    assert try_healthy(Load(("--games=1",)), tmp_path, Event()).alarms == (
        f"integrity {document['integrity'][0]['name']}",
    )
