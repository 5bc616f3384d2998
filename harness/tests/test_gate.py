"""What the gate refuses: reports that contradict themselves, and questions that a report can't answer."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import (
    NS,
    START,
    Shape,
    fault_row,
    history_of,
    run_of,
    synthetic_rows,
    write_run,
)
from harness.cli import main
from harness.documents.report import Report
from harness.documents.scenario import Scenario
from harness.judge import evidence_of
from harness.report import read_report, write_reports
from harness.report.build import report_on
from harness.report.gate import change_thresholds
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.sla.policy import DEFAULT_POLICY, PolicyError, load_policy
from harness.tests.helpers import policy_with
from harness.tests.synthetic_report import document_of, report_of

SHAPE = Shape(games_at_once=200, seconds=120, http_per_s=60)

#: A report as it was written before there were models.
FIRST = Path(__file__).parent / "golden" / "report-1.json"

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


@pytest.fixture(scope="module")
def passing(good_rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A good load run with scenarios that passed, one that was skipped, and a fault during its load."""
    folder = write_run(tmp_path_factory.mktemp("reports"), good_rows, SHAPE)
    for number, outcome in enumerate(["passed", "passed", "skipped"]):
        scenario = folder.scenarios / f"scenario-{number}"
        scenario.mkdir(parents=True)
        (scenario / "scenario.json").write_text(
            json.dumps({"outcome": outcome, "seconds": 1.0}), encoding="utf-8"
        )
    write_reports(folder, load_policy())
    report = document_of(read_report(folder.path))
    report["faults"].append(
        {
            "name": "network:down service-pubnub", "place": "network", "scenario": None,
            "started_at": None, "ended_at": None, "detected_after_s": None, "recovered_after_s": 3.0,
            "error": None,
            "expectations": [
                {"name": "healthy again", "verdict": "pass", "measured": 3.0, "threshold": 15.0},
                {"name": "serves again", "verdict": "pass", "measured": 2.0, "threshold": 15.0},
            ],
        }
    )  # fmt: skip
    assert Report.model_validate(report).verdict == "pass"
    return report


@pytest.fixture
def report(passing: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(passing)


def gate(report: dict[str, Any], folder: Path, *options: str | Path) -> Any:
    path = folder / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    return CliRunner().invoke(main, ["gate", str(path), *map(str, options)])


def objective(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in report["objectives"] if row["name"] == name)


def check(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in report["measurement"]["checks"] if row["name"] == name)


# --- edited reports ------------------------------------------------------------------------------------


def put(section: str, name: str, **values: Any) -> Edit:
    find = {"objectives": objective, "checks": check}[section]
    return lambda report: find(report, name).update(values)


def all_scenarios_failed(report: dict[str, Any]) -> None:
    for scenario in report["scenarios"]:
        scenario["outcome"] = "failed"


def one_scenario_more_or_less_sure(report: dict[str, Any]) -> None:
    report["scenarios"][0]["outcome"] = "inconclusive"


def an_expectation_that_was_not_met(report: dict[str, Any]) -> None:
    report["faults"][-1]["expectations"][1]["measured"] = 20.0


def an_expectation_of_which_nothing_is_known(report: dict[str, Any]) -> None:
    report["faults"][-1]["expectations"][1]["measured"] = None


def a_case_of_what_must_never_happen(report: dict[str, Any]) -> None:
    fault = copy.deepcopy(report["faults"][-1]) | {"scenario": "scenario-1"}
    fault["expectations"] = [
        {"name": "moved twice: none", "verdict": "pass", "measured": 1, "threshold": 0, "integrity": True}
    ]
    report["faults"].append(fault)


def nothing_looked_at(report: dict[str, Any]) -> None:
    report["integrity"][2]["looked_at"] = 0


def test_broken_integrity_in_a_scenario_closes_the_gate_and_is_named(
    report: dict[str, Any], tmp_path: Path
) -> None:
    a_case_of_what_must_never_happen(report)
    report["faults"][-1]["expectations"][0]["verdict"] = report["verdict"] = "fail"
    result = gate(report, tmp_path)
    assert result.exit_code == 1
    assert "network:down service-pubnub in scenario-1: moved twice: none" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (all_scenarios_failed, "'scenarios_passed' does not follow from scenarios[]: 0 of 3 passed"),
        (one_scenario_more_or_less_sure, "does not follow from scenarios[]: 1 of 2 passed"),
        (nothing_looked_at, "integrity row 'early' says pass, but its figures say inconclusive"),
        (a_case_of_what_must_never_happen, "'moved twice: none', says pass, but its figures say fail"),
        (an_expectation_that_was_not_met, "'serves again', says pass, but its figures say fail"),
        (an_expectation_of_which_nothing_is_known, "'serves again', says pass, but its figures say inconc"),
        (put("checks", "harness_cpu", measured=99.0), "'harness_cpu' says pass, but its figures say 99"),
        (put("checks", "harness_cpu", measured=None), "'harness_cpu' says pass"),
        (put("checks", "known_rows", measured=50.0), "'known_rows' says pass"),
        (put("checks", "database_clock", measured=0.2), "'database_clock' says pass"),
        (
            put("objectives", "broadcast_latency", interval=[1.0, 3.0]),
            "pass, but its figures say inconclusive",
        ),
        (put("objectives", "broadcast_latency", threshold=0.001), "'broadcast_latency' says pass, but its"),
        (put("objectives", "broadcast_latency", samples="many"), "objectives.1.samples: Input should be"),
        (put("objectives", "broadcast_latency", mood="good"), "objectives.1.mood: Extra inputs are not"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused_and_the_row_named(
    edit: Edit, complaint: str, report: dict[str, Any], tmp_path: Path
) -> None:
    edit(report)
    result = gate(report, tmp_path)
    assert (result.exit_code, complaint in result.output) == (4, True), result.output
    assert len(result.output.splitlines()) == 1


def test_a_latency_that_never_came_is_infinite(report: dict[str, Any], tmp_path: Path) -> None:
    endless = {"measured": "infinity", "interval": ["infinity", "infinity"], "verdict": "fail"}
    objective(report, "broadcast_latency").update(endless)
    report["verdict"] = "fail"
    result = gate(report, tmp_path)
    assert (result.exit_code, "p95 never (never)" in result.output) == (1, True)


@pytest.mark.parametrize("unread", [["transition"], ["transition", "publish", "trigger"]])
def test_a_clock_that_nothing_was_measured_by_may_be_wrong(
    unread: list[str], good_rows: pd.DataFrame
) -> None:
    clock = (good_rows["actor"] == "database") & (good_rows["name"] == "clock_error_bound_ms")
    rows = good_rows[~good_rows["kind"].isin(unread)].copy()
    rows.loc[clock.reindex(rows.index), "value"] = 500.0
    report = document_of(report_on(evidence_of(history_of(rows), run_of(SHAPE), load_policy()), "run"))
    found = check(report, "database_clock")
    assert (found["verdict"], found["measured"] > found["limit"]) == ("pass", True)


def test_a_report_of_the_first_schema_is_read_gated_and_judged_by_other_thresholds(tmp_path: Path) -> None:
    old = read_report(FIRST)
    assert (old.verdict, len(old.objectives), len(old.faults)) == ("fail", 8, 5)
    assert {view(old) != "" for view in (render_markdown, render_junit, render_html)} == {True}
    document = json.loads(FIRST.read_text(encoding="utf-8"))
    assert gate(document, tmp_path).exit_code == 1
    document["faults"] = [fault for fault in document["faults"] if fault["scenario"]]
    document["verdict"] = "inconclusive"
    assert gate(document, tmp_path).exit_code == 3
    assert gate(document, tmp_path, "--set", "error_rate.threshold=0.001%").exit_code == 3
    assert gate(document, tmp_path, "--set", "broadcast_latency.threshold=1ms").exit_code == 1
    document["objectives"][0]["verdict"] = "pass"
    assert gate(document, tmp_path).exit_code == 4


def test_what_reports_of_long_ago_did_not_say_is_not_asked_for(
    report: dict[str, Any], tmp_path: Path
) -> None:
    report["schema"] = "stormwatch.report/1"
    del report["run"]["expects_load"], report["policy"]["measurement"], report["notes"]
    for row in report["objectives"]:
        del row["assumed_icc"], row["lag_error"]
    assert gate(report, tmp_path).exit_code == 0
    assert gate(report, tmp_path, "--set", "broadcast_latency.threshold=1ms").exit_code == 1


def test_failure_scenarios_alone_need_no_rows_of_a_load(good_rows: pd.DataFrame, tmp_path: Path) -> None:
    about = run_of(SHAPE, windows=[], expects_load=False, expects_scenarios=True)
    scenarios = [Scenario(id="pubnub-outage", outcome="passed", seconds=1.0)]
    evidence = evidence_of(history_of(good_rows.head(0)), about, load_policy(), scenarios)
    report = document_of(report_on(evidence, "run"))
    assert gate(report, tmp_path).exit_code == 0
    assert gate(report, tmp_path, "--sla", DEFAULT_POLICY).exit_code == 0


# --- faults during the load ----------------------------------------------------------------------------


def test_a_fault_that_was_not_recovered_from_closes_the_gate(report: dict[str, Any], tmp_path: Path) -> None:
    report["faults"][-1]["expectations"][0].update(measured=20.0, verdict="fail")
    report["verdict"] = "fail"
    result = gate(report, tmp_path)
    assert result.exit_code == 1
    assert "fault network:down service-pubnub: healthy again: measured 20" in result.output


def test_a_fault_that_nobody_could_judge_can_be_allowed(report: dict[str, Any], tmp_path: Path) -> None:
    report["faults"][-1]["expectations"][0].update(measured=None, verdict="inconclusive")
    report["verdict"] = "inconclusive"
    assert gate(report, tmp_path).exit_code == 3
    allowed = gate(report, tmp_path, "--allow-inconclusive", "network:down service-pubnub")
    assert allowed.exit_code == 0


# --- other thresholds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "tolerances.timer=1ms",
        "measurement.cpu=1%",
        "recovery.recover=1s",
        "confidence=99%",
        "error_rate.assumed_icc=1.0",
        "error_rate.confidence=99%",
        "broadcast_latency.quantile=p99",
        "monitor_execution.ceiling=1s",
    ],
)
def test_what_needs_the_record_is_refused(change: str, report: dict[str, Any], tmp_path: Path) -> None:
    for options in (["--set", change], ["--sla", DEFAULT_POLICY, "--set", change]):
        result = gate(report, tmp_path, *options)
        assert result.exit_code == 4, result.output
        assert "that needs the record: use `stormwatch report --sla` or `--set`" in result.output


def test_a_policy_that_differs_in_nothing_but_thresholds_judges_the_report(
    report: dict[str, Any], tmp_path: Path
) -> None:
    assert gate(report, tmp_path, "--sla", DEFAULT_POLICY).exit_code == 0
    stricter = policy_with(tmp_path, 'threshold = "2s"', 'threshold = "1ms"')
    result = gate(report, tmp_path, "--sla", stricter)
    assert (result.exit_code, "objective broadcast_latency" in result.output) == (1, True)
    # What was edited into a report everywhere alike is told only beside the policy.
    objective(report, "broadcast_latency")["threshold"] = 10.0
    assert gate(report, tmp_path).exit_code == 0
    assert gate(report, tmp_path, "--sla", stricter).exit_code == 1


def test_the_patterns_of_recovery_limits_count_in_their_order(report: dict[str, Any], tmp_path: Path) -> None:
    swapped = '"tick:*" = "15s"\n"pubnub:*" = "15s"'
    policy = policy_with(tmp_path, '"pubnub:*" = "15s"\n"tick:*" = "15s"', swapped)
    assert gate(report, tmp_path, "--sla", policy).exit_code == 4


def test_a_policy_judges_with_the_changes_of_the_profile_that_was_run(
    report: dict[str, Any], tmp_path: Path
) -> None:
    quick = "[profiles.quick]"
    policy = policy_with(tmp_path, quick, f'{quick}\nchanges.broadcast_latency.threshold = "1ms"')
    assert report["run"]["profile"] == "quick"
    assert gate(report, tmp_path, "--sla", policy).exit_code == 1
    report["run"]["profile"] = "soak"
    assert gate(report, tmp_path, "--sla", policy).exit_code == 0


def test_an_objective_of_another_profile_is_not_asked_for(report: dict[str, Any], tmp_path: Path) -> None:
    metric = 'metric = "errors"'
    policy = policy_with(tmp_path, metric, f'{metric}\nprofiles = ["production"]')
    assert gate(report, tmp_path, "--sla", policy).exit_code == 0
    report["run"]["profile"] = "production"
    assert gate(report, tmp_path, "--sla", policy).exit_code == 0
    del report["objectives"][4]
    assert gate(report, tmp_path, "--sla", policy).exit_code == 4


def test_a_policy_that_promises_nothing_of_what_was_run_opens_no_gate(
    report: dict[str, Any], tmp_path: Path
) -> None:
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    text = re.sub(r"not_judged = .*", "", text)
    text = re.sub(r"checkpoints = .*", 'checkpoints = ["integrity"]', text)
    head, rest = text.split("[objectives.monitor_execution]", 1)
    policy = tmp_path / "sla.toml"
    policy.write_text(
        f"{head}[objectives.scenarios_passed]{rest.split('[objectives.scenarios_passed]', 1)[1]}",
        encoding="utf-8",
    )
    assert gate(report, tmp_path, "--sla", policy).exit_code == 0
    report["scenarios"] = []
    del report["objectives"][-1]
    result = gate(report, tmp_path, "--sla", policy)
    assert (result.exit_code, "nothing that the policy promises" in result.output) == (4, True)


def test_a_single_change_leaves_the_other_rows_as_they_were_judged(
    report: dict[str, Any], tmp_path: Path
) -> None:
    # Made with a policy of its own: by the project's, broadcast_latency would pass.
    objective(report, "broadcast_latency").update(threshold=0.001, verdict="fail", reason="Slow.")
    report["objectives"] = [row for row in report["objectives"] if row["name"] != "error_rate"]
    report["verdict"] = "fail"
    result = gate(report, tmp_path, "--set", "availability.threshold=99%")
    assert (result.exit_code, "objective broadcast_latency" in result.output) == (1, True)
    assert "promised < 1 ms" in result.output
    assert gate(report, tmp_path, "--set", "objectives.broadcast_latency.threshold=2s").exit_code == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("error_rate.treshold=1%", "nothing is called so"),
        ("latency.threshold=1s", "nothing is called so"),
        ("error_rate.threshold=1s", "'1s' is not a share"),
        ("error_rate.threshold=0%", "exclusive"),
        ("error_rate.threshold=", "write NAME=VALUE"),
    ],
)
def test_a_change_that_makes_no_sense_is_wrong_usage(
    change: str, complaint: str, report: dict[str, Any], tmp_path: Path
) -> None:
    result = gate(report, tmp_path, "--set", change)
    assert (result.exit_code, complaint in result.output) == (2, True), result.output


def test_a_policy_that_is_none_is_wrong_usage_whatever_the_reports_say(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["gate", str(tmp_path), "--sla", str(tmp_path / "nowhere.toml")])
    assert result.exit_code == 2


def test_the_help_tells_what_the_thresholds_are() -> None:
    text = " ".join(CliRunner().invoke(main, ["gate", "--help"]).output.split())
    assert "Thresholds that were edited in it can't be told from those it was made with" in text
    assert "those of the file, with the changes of the profile that was run" in text


# --- what the policy says of an objective reaches its row ----------------------------------------------


def test_an_objective_is_judged_with_its_own_confidence(good_rows: pd.DataFrame, tmp_path: Path) -> None:
    metric = 'metric = "broadcast_latency"'
    policy = load_policy(policy_with(tmp_path, metric, f'{metric}\nconfidence = "99.9%"'))
    evidence = evidence_of(history_of(good_rows), run_of(SHAPE), load_policy())
    usual = objective(document_of(report_on(evidence, "run")), "broadcast_latency")
    evidence = evidence_of(history_of(good_rows), run_of(SHAPE), policy)
    report = document_of(report_on(evidence, "run"))
    sure = objective(report, "broadcast_latency")
    assert (usual["confidence"], sure["confidence"]) == (0.95, 0.999)
    assert sure["interval"][0] <= usual["interval"][0] <= usual["interval"][1] <= sure["interval"][1]
    assert sure["interval"] != usual["interval"]
    assert objective(report, "pubnub_delivery")["confidence"] == 0.95


def test_an_objective_is_judged_only_in_runs_of_its_profiles(good_rows: pd.DataFrame, tmp_path: Path) -> None:
    metric = 'metric = "errors"'
    policy = load_policy(policy_with(tmp_path, metric, f'{metric}\nprofiles = ["quick"]'))
    for profile, judged in (("quick", True), ("soak", False)):
        evidence = evidence_of(history_of(good_rows), run_of(SHAPE, profile=profile), policy)
        report = report_on(evidence, "run")
        assert ("error_rate" in {row.name for row in report.objectives}) == judged


def test_all_changes_that_make_no_sense_are_named_at_once(report: dict[str, Any], tmp_path: Path) -> None:
    result = gate(report, tmp_path, "--set", "no.such=1s", "--set", "broadcast_latency.threshold=fast")
    assert result.exit_code == 2
    assert "--set no.such: nothing is called so" in result.output
    assert "--set broadcast_latency.threshold: 'fast' is not a duration" in result.output
    result = gate(report, tmp_path, "--set", "one", "--set", "two")
    assert "--set 'one': write" in result.output
    assert "--set 'two': write" in result.output


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)], ids=["healthy", "a game moved early"])
def test_what_a_profile_does_not_judge_counts_neither_way(
    good_rows: pd.DataFrame, tmp_path: Path, *, broken: bool, code: int
) -> None:
    rows = good_rows.copy()
    if broken:
        move = rows.index[(rows["kind"] == "transition") & rows["intended_ns"].notna()][100]
        rows.loc[move, "start_ns"] = rows.loc[move, "intended_ns"] - NS
    evidence = evidence_of(history_of(rows), run_of(SHAPE, profile="smoke"), load_policy(profile="smoke"))
    report = document_of(report_on(evidence, "run"))
    left_out = {row["name"]: row["absent"] for row in report["objectives"] if row["absent"]}
    assert left_out == dict.fromkeys(["availability", "timer_accuracy"], "not judged in profile smoke")
    done = gate(report, tmp_path)
    assert done.exit_code == code, done.output
    assert "availability: Not applicable: not judged in profile smoke." in done.output


def test_a_fault_during_the_load_is_one_of_the_rows(good_rows: pd.DataFrame) -> None:
    at = {"start_ns": START + 60 * NS, "end_ns": START + 70 * NS}
    fault = fault_row("network:down service-pubnub", ok=True, **at)
    rows = pd.concat([good_rows, pd.DataFrame([fault])], ignore_index=True).astype(good_rows.dtypes)
    report = report_on(evidence_of(history_of(rows), run_of(SHAPE), load_policy()), "run")
    assert [fault.name for fault in report.faults_of_load] == ["network:down service-pubnub"]


def test_a_change_without_its_field_is_told_what_to_write(report: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=r"write one of .*broadcast_latency\.threshold"):
        change_thresholds(report_of(report), {"broadcast_latency": "1s"})
