"""What a run shows while it goes on: the growing history, the document, the view of it in a terminal."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from rich.console import Console

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
from harness.commands._display import Display
from harness.documents.live import Figures, Live
from harness.documents.run import Run
from harness.documents.scenario import Scenario
from harness.history import (
    SCHEMA,
    Doubt,
    History,
    HistoryReader,
    HistoryWriter,
    Row,
    RunFolder,
    Witness,
    create_run,
    now_ns,
    read_history,
)
from harness.live.document import (
    NOT_YET,
    SETTLED_S,
    TRAIL,
    Snapshot,
    judge_so_far,
    live_document,
    with_trails,
)
from harness.live.file import NAME, read_live, write_live
from harness.live.follow import LOOK_S, SHARE, Follower, cadence_s
from harness.live.process import LiveProcess
from harness.live.terminal import one_line, render
from harness.report.build import build_report
from harness.sla.policy import Policy, load_policy
from harness.tests.helpers import eventually, policy_with
from harness.tests.synthetic_report import document_of

SHAPE = Shape(games_at_once=60, seconds=40)
#: In the middle of the steady window.
MIDDLE_NS = START + 30 * NS
OPTIONS = {
    "games": 60, "players": 4, "lengths": {"briefing": 3.0, "drawing": 4.0, "voting": 3.0}, "tick_s": 1.0,
    "sync_s": 3.0, "wave_size": 25, "wave_every_s": 1.0, "duration_s": 40.0, "drain_s": 30.0,
    "probe_s": 1.0, "observers": 1, "seed": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def written_by(rows: pd.DataFrame, at_ns: int) -> pd.DataFrame:
    """What writers have handed over at a moment: what ended before, and a second before for observers."""
    ended = rows["end_ns"].fillna(rows["start_ns"])
    flushed = (rows["kind"] == "delivery").map({True: NS // 10, False: NS})
    return rows[(ended <= at_ns - flushed).to_numpy(dtype=bool)]


def under_way(about: dict[str, Any] | None = None) -> Run:
    """run.json in the middle of the steady window."""
    steady = START + SHAPE.warm_up * NS
    windows = [
        {"name": "warm-up", "start_ns": START, "end_ns": steady},
        {"name": "steady", "start_ns": steady, "end_ns": None},
    ]
    fields = {"windows": windows, "options": OPTIONS, "finished_at": None}
    return run_of(SHAPE, **(fields | (about or {})))


def snapshot(rows: pd.DataFrame, at_ns: int = MIDDLE_NS, **fields: Any) -> Snapshot:
    about = fields.pop("about", under_way())
    history = history_of(written_by(rows, at_ns), cut_off="the writer did not close the file")
    return Snapshot("a-run", at_ns, about, history, **fields)


def verdicts(figures: Figures) -> dict[str, str]:
    return {row.name: row.verdict for row in figures.objectives}


# --- the document ----------------------------------------------------------------------------------------


def test_at_its_end_a_run_is_judged_as_its_report_judges_it(
    tmp_path: Path, rows: pd.DataFrame, policy: Policy
) -> None:
    run = write_run(tmp_path, rows, SHAPE, files=3)
    run.update(finished_at="2026-09-21T14:20:00.000+00:00")
    report = document_of(build_report(run, policy))
    figures = judge_so_far(Snapshot(run.id, now_ns(), run.read(), HistoryReader(run.history).look()), policy)
    assert figures.verdict == report["verdict"]
    for so_far, final in zip(figures.objectives, report["objectives"], strict=True):
        assert so_far.model_dump(mode="json", exclude={"shown"}).items() <= final.items()
    found = {row.name: (row.violations, row.looked_at) for row in figures.integrity}
    assert found == {row["name"]: (row["violations"], row["looked_at"]) for row in report["integrity"]}


def test_a_good_run_under_way_is_judged_without_doubts(rows: pd.DataFrame, policy: Policy) -> None:
    figures = judge_so_far(snapshot(rows), policy)
    assert figures.doubts == ()
    found = verdicts(figures)
    assert (found["broadcast_latency"], found["trigger_execution"], found["error_rate"]) == ("pass",) * 3
    # Some 25 s are too few for three nines.
    assert found["timer_accuracy"] == "inconclusive"
    accuracy = next(row for row in figures.objectives if row.name == "timer_accuracy")
    assert accuracy.samples_needed > accuracy.samples > 0
    assert accuracy.interval[0] < accuracy.threshold < accuracy.interval[1]


def test_the_last_seconds_are_left_for_the_next_time(rows: pd.DataFrame, policy: Policy) -> None:
    # Judged to the very last row, deliveries seem to belong to no event: the database was not read yet.
    late = snapshot(rows)
    figures = judge_so_far(late, policy)
    assert figures.judged_at == "2026-09-21T14:13:47.000+00:00"
    ticks = next(row for row in figures.objectives if row.name == "monitor_execution")
    assert ticks.samples == 30 - SHAPE.warm_up - SETTLED_S


def test_more_of_the_run_gives_more_samples(rows: pd.DataFrame, policy: Policy) -> None:
    counts = [
        [row.samples for row in judge_so_far(snapshot(rows, START + at * NS), policy).objectives]
        for at in (20, 35)
    ]
    assert all(later > before for before, later in zip(*counts, strict=True))


def slow_broadcasts(rows: pd.DataFrame) -> pd.DataFrame:
    spoiled = rows.copy()
    heard = (spoiled["kind"] == "delivery") & (spoiled["name"] == "phase_changed")
    spoiled.loc[heard, "end_ns"] += 3 * NS
    return spoiled


def failed_calls(rows: pd.DataFrame) -> pd.DataFrame:
    spoiled = rows.copy()
    calls = spoiled.index[spoiled["kind"] == "http"]
    spoiled.loc[calls[::10], ["ok", "error", "value"]] = [False, "http 503", 503.0]
    return spoiled


@pytest.mark.parametrize(
    ("spoil", "failing"),
    [
        (slow_broadcasts, {"broadcast_latency", "pubnub_delivery"}),
        (failed_calls, {"error_rate", "availability"}),
    ],
)
def test_a_broken_promise_fails_while_the_run_goes_on(
    rows: pd.DataFrame, policy: Policy, spoil: Callable[[pd.DataFrame], pd.DataFrame], failing: set[str]
) -> None:
    figures = judge_so_far(snapshot(spoil(rows)), policy)
    assert {name for name, verdict in verdicts(figures).items() if verdict == "fail"} == failing
    assert figures.verdict == "fail"


def test_a_violation_shows_with_its_game(rows: pd.DataFrame, policy: Policy) -> None:
    spoiled = rows.copy()
    moved = spoiled.index[(spoiled["kind"] == "transition") & spoiled["intended_ns"].notna()][0]
    spoiled.loc[moved, "start_ns"] = spoiled.loc[moved, "intended_ns"] - NS
    figures = judge_so_far(snapshot(spoiled), policy)
    early = next(row for row in figures.integrity if row.name == "early")
    assert (early.verdict, early.violations) == ("fail", 1)
    assert early.examples[0]["game"] == spoiled.loc[moved, "game"]
    assert figures.verdict == "fail"


def test_a_doubt_about_the_measurement_shows(rows: pd.DataFrame, policy: Policy) -> None:
    figures = judge_so_far(
        snapshot(rows, about=under_way({"missing": [Doubt(Witness.DATABASE, "not read").entry()]})), policy
    )
    assert [doubt.name for doubt in figures.doubts] == ["witnesses"]
    assert verdicts(figures)["trigger_execution"] == "inconclusive"
    assert verdicts(figures)["error_rate"] == "pass"


def test_before_the_steady_window_nothing_is_wrong_yet(rows: pd.DataFrame, policy: Policy) -> None:
    warm_up = [{"name": "warm-up", "start_ns": START, "end_ns": None}]
    early = snapshot(rows, START + 4 * NS, about=under_way({"windows": warm_up}))
    figures = judge_so_far(early, policy)
    assert figures.doubts == ()
    assert figures.verdict == "inconclusive"
    assert {row.reason for row in figures.objectives} == {NOT_YET}
    assert {row.samples for row in figures.objectives} == {0}


@pytest.mark.parametrize("about", [{}, {"windows": []}, {"windows": [], "options": None}])
def test_a_run_that_has_nothing_yet_has_a_document(policy: Policy, about: dict[str, Any]) -> None:
    nothing = Snapshot("a-run", now_ns(), Run(id="a-run", **about), History(SCHEMA.empty_table()))
    figures = judge_so_far(nothing, policy)
    assert set(verdicts(figures).values()) == {"inconclusive"}
    document = live_document(nothing, figures)
    assert (document.window, document.faults, document.begun) == (None, (), False)


def test_infinite_latencies_are_written_as_json_knows_them(rows: pd.DataFrame, policy: Policy) -> None:
    deaf = rows[~((rows["kind"] == "delivery") & (rows["name"] == "phase_changed"))]
    figures = judge_so_far(snapshot(deaf), policy)
    latency = next(row for row in figures.objectives if row.name == "broadcast_latency")
    assert latency.measured == math.inf
    assert latency.shown.place == (1.0, 1.0)
    assert '"measured":"infinity"' in live_document(snapshot(deaf), figures).model_dump_json()


def test_the_place_of_an_interval_is_left_of_the_middle_when_the_promise_is_kept(
    rows: pd.DataFrame, policy: Policy
) -> None:
    for row in judge_so_far(snapshot(failed_calls(rows)), policy).objectives:
        low, high = row.shown.place
        assert 0 <= low <= high <= 1
        if row.verdict != "inconclusive":
            assert (high <= 0.5) if row.verdict == "pass" else (low >= 0.5), row.name


@pytest.mark.parametrize(
    ("name", "opened_s", "elapsed_s", "run_time_s", "lasts_s"),
    [
        # Two waves and a half, a second apart; then a game, each of its phases waiting for a tick.
        ("warm-up", 0, 4, None, 2 + 10 + 3),
        ("steady", 15, 10, None, 40),
        ("steady", 15, 10, 45.0, 30),
        ("drain", 60, 50, None, 30),
    ],
)
def test_the_open_window_says_how_long_it_will_last(
    name: str, opened_s: int, elapsed_s: int, run_time_s: float | None, lasts_s: float
) -> None:
    windows = [{"name": "warm-up", "start_ns": START, "end_ns": START + opened_s * NS if opened_s else None}]
    if opened_s:
        windows.append({"name": name, "start_ns": START + opened_s * NS, "end_ns": None})
    about = under_way({"windows": windows, "options": OPTIONS | {"run_time_s": run_time_s}})
    now = Snapshot("a-run", START + (opened_s + elapsed_s) * NS, about, History(SCHEMA.empty_table()))
    window = live_document(now, None).window
    assert (window.name, window.elapsed_s, window.lasts_s) == (name, elapsed_s, lasts_s)
    assert window.left_s == max(0, lasts_s - elapsed_s)


def test_a_window_of_unknown_length_has_no_time_left(rows: pd.DataFrame) -> None:
    document = live_document(snapshot(rows, about=under_way({"options": {"games": 3}})), None)
    assert document.window.left_s is None


def fault_rows(name: str, start_ns: int, end_ns: int | None) -> list[Row]:
    begin = Row(**fault_row(name, f"fault-{name}", start_ns=start_ns))
    return [begin] if end_ns is None else [begin, begin._replace(end_ns=end_ns, ok=True)]


def history_with(folder: Path, faults: list[Row]) -> History:
    with HistoryWriter(folder, "fault", "a-run", flush_interval_s=3600) as writer:
        for row in faults:
            writer.append(row)
    return read_history(folder)


def test_a_fault_shows_while_it_lasts(tmp_path: Path) -> None:
    faults = [
        *fault_rows("network:down", START + 2 * NS, START + 5 * NS),
        *fault_rows("pubnub:slow", START + 20 * NS, None),
    ]
    history = history_with(tmp_path, faults)
    now = Snapshot("a-run", MIDDLE_NS, under_way(), history)
    (fault,) = live_document(now, None).faults
    assert (fault.name, fault.for_s, fault.scenario) == ("pubnub:slow", 10.0, None)
    newest = live_document(now, None).newest
    assert newest is not None
    assert (newest.name, newest.for_s, newest.ended_s) == ("network:down", 3.0, 25.0)
    assert live_document(Snapshot("a-run", MIDDLE_NS, under_way(), history, ended=True), None).faults == ()


def test_where_intervals_lay_is_kept_and_of_many_each_second_one(rows: pd.DataFrame, policy: Policy) -> None:
    found = judge_so_far(snapshot(rows), policy)
    begin_s, figures = datetime.fromisoformat(found.judged_at), None
    for second in range(TRAIL + 1):
        judged_at = (begin_s + timedelta(seconds=second)).isoformat()
        figures = with_trails(found.model_copy(update={"judged_at": judged_at}), figures)
    assert figures is not None
    shown = {row.name: row.shown for row in figures.objectives}
    trail = shown["broadcast_latency"].trail
    assert len(trail) == TRAIL // 2 + 1
    assert {point[1:] for point in trail} == {shown["broadcast_latency"].place}
    assert (trail[-1][0] - trail[0][0], trail[0][0]) == (TRAIL, round(begin_s.timestamp(), 1))


def test_what_is_near_a_fault_is_not_counted(rows: pd.DataFrame, policy: Policy, tmp_path: Path) -> None:
    (begin,) = fault_rows("network:down", START + 20 * NS, None)
    broken = pd.concat([rows, pd.DataFrame([begin._asdict()]).astype(rows.dtypes)], ignore_index=True)
    before, during = (judge_so_far(snapshot(some), policy).objectives for some in (rows, broken))
    assert all(b.samples > d.samples > 0 for b, d in zip(before, during, strict=True))


def test_the_faults_of_scenarios_under_way_show_with_their_scenario(tmp_path: Path) -> None:
    going = Scenario(id="pubnub-outage", title="PubNub is out", outcome="error")
    over = Scenario(id="pool", outcome="passed", seconds=12.0)
    broken = {
        name: history_with(tmp_path / name, fault_rows(f"network:down {name}", MIDDLE_NS - 4 * NS, None))
        for name in ("pubnub-outage", "the-first-of-several")
    }

    def shown(*scenarios: Scenario) -> Live:
        now = Snapshot(
            "a-run", MIDDLE_NS, under_way(), History(SCHEMA.empty_table()),
            scenarios=scenarios, planned=7, broken=broken,
        )  # fmt: skip
        return live_document(now, None)

    def faults(document: Live) -> list[tuple[Any, ...]]:
        return [(fault.name, fault.scenario, fault.for_s) for fault in document.faults]

    document = shown(going, over)
    assert faults(document) == [
        ("network:down pubnub-outage", "pubnub-outage", 4.0),
        ("network:down the-first-of-several", "pubnub-outage", 4.0),
    ]
    # Of two that are under way nobody can tell which one took over the record of the first.
    assert faults(shown(going, going.model_copy(update={"id": "another"})))[1] == (
        "network:down the-first-of-several",
        None,
        4.0,
    )
    assert document.scenarios.model_dump() == {
        "under_way": ({"id": "pubnub-outage", "title": "PubNub is out"},),
        "passed": 1, "done": 1, "planned": 7,
    }  # fmt: skip


def test_a_scenario_under_way_is_no_failure_yet(rows: pd.DataFrame, policy: Policy) -> None:
    scenarios = [
        Scenario(id="a", outcome="passed", seconds=3.0),
        Scenario(id="b", outcome="error", message="it did not finish"),
    ]
    found = verdicts(judge_so_far(snapshot(rows, scenarios=scenarios), policy))
    assert found["scenarios_passed"] == "pass"
    ended = snapshot(rows, scenarios=scenarios, ended=True)
    assert verdicts(judge_so_far(ended, policy))["scenarios_passed"] != "pass"


# --- the one that follows --------------------------------------------------------------------------------


@pytest.mark.parametrize(("took_s", "least_s"), [(0.001, 1.0), (0.01, 15.0)])
def test_what_costs_little_is_judged_as_often_as_asked_for(took_s: float, least_s: float) -> None:
    assert cadence_s(took_s, least_s) == least_s


def test_what_costs_much_is_judged_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.live.follow.cores", lambda: 2)
    assert LOOK_S == 1.0
    assert cadence_s(0.19) == 1.0
    assert cadence_s(3.0) == pytest.approx(3.0 / (2 * SHARE))


def growing_run(tmp_path: Path, rows: pd.DataFrame) -> RunFolder:
    run = write_run(tmp_path, rows, SHAPE, options=OPTIONS)
    windows = under_way().model_dump()["windows"]
    windows[1]["start_ns"] = now_ns() - 5 * NS
    run.update(windows=windows)
    return run


def test_what_goes_on_is_written_at_every_look_and_judged_when_it_is_time(
    tmp_path: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = growing_run(tmp_path, rows)
    monkeypatch.setattr("harness.live.follow.cadence_s", lambda took_s, least_s: 3600.0)
    follower = Follower(run)
    first = follower.look()
    with HistoryWriter(run.history, "fault", run.id) as history:
        history.append(fault_rows("network:down", now_ns(), None)[0])
        history.flush()
        second = follower.look()
    assert first is not None
    assert second is not None
    assert second.updated_at > first.updated_at
    assert (first.faults, [fault.name for fault in second.faults]) == ((), ["network:down"])
    assert second.figures.judged_at == first.figures.judged_at
    assert second.every_s == 3600.0
    last = follower.look(ended=True)
    assert last is not None
    assert last.figures.judged_at > first.figures.judged_at
    assert (last.ended, last.faults) == (True, ())
    assert read_live(run.path) == last


@pytest.mark.parametrize("where", ["scenarios", "testbeds"])
def test_the_faults_of_scenarios_are_found_while_their_record_goes_on(
    tmp_path: Path, rows: pd.DataFrame, where: str
) -> None:
    run = growing_run(tmp_path, rows.head(0))
    inner = create_run(run.path / where, "failure", run_id="pubnub-outage")
    follower = Follower(run)
    with HistoryWriter(inner.history, "faults", inner.id) as history:
        history.append(fault_rows("network:down", now_ns(), None)[0])
        history.flush()
        during = follower.look()
    inner.update(finished_at="2026-09-21T14:20:00.000+00:00")
    after = follower.look()
    assert during is not None
    assert after is not None
    assert ([fault.name for fault in during.faults], after.faults) == (["network:down"], ())


def test_the_run_s_own_profile_is_judged_by(tmp_path: Path, rows: pd.DataFrame) -> None:
    run = growing_run(tmp_path, rows)
    mine = '[profiles.mine]\ntitle = "x"\nchanges = { "error_rate.threshold" = "7%" }\n\n'
    policy = policy_with(tmp_path, "[profiles.quick]", f"{mine}[profiles.quick]")
    run.update(profile="mine")
    document = Follower(run, policy).look()
    assert document is not None
    assert {row.name: row.threshold for row in document.figures.objectives}["error_rate"] == 7.0


def test_a_run_that_cannot_be_judged_says_why_and_keeps_its_last_figures(
    tmp_path: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = growing_run(tmp_path, rows)
    monkeypatch.setattr("harness.live.follow.cadence_s", lambda took_s, least_s: -1.0)
    follower = Follower(run)
    good = follower.look()

    def crash(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("harness.live.follow.judge_so_far", crash)
    bad = follower.look()
    assert good is not None
    assert bad is not None
    assert bad.problem == "ValueError: no such thing"
    assert bad.figures == good.figures


def test_a_missing_or_spoiled_record_is_no_traceback(tmp_path: Path) -> None:
    assert Follower(RunFolder(tmp_path / "nowhere")).look() is None
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    assert Follower(RunFolder(tmp_path)).look() is None
    assert read_live(tmp_path) is None
    (tmp_path / NAME).write_text('{"schema": "stormwatch.live/99"}', encoding="utf-8")
    assert read_live(tmp_path) is None


ENOUGH_S = 60.0


def test_the_process_follows_at_the_lowest_priority_and_judges_once_more_at_the_end(
    tmp_path: Path, rows: pd.DataFrame
) -> None:
    run = growing_run(tmp_path, rows)
    with LiveProcess(run) as process:
        pid = process.pid
        first = eventually(lambda: read_live(run.path))
        assert psutil.Process(pid).nice() == 19
        assert eventually(lambda: (read_live(run.path) or first).updated_at > first.updated_at)
    document = read_live(run.path)
    assert document is not None
    assert document.ended
    assert document.problem is None
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert (run.logs / "live.log").read_text(encoding="utf-8") == ""


def test_the_process_ends_when_its_starter_was_killed(tmp_path: Path, rows: pd.DataFrame) -> None:
    run = growing_run(tmp_path, rows)
    code = (
        "import sys, time; from pathlib import Path; from harness.history import RunFolder; "
        "from harness.live.process import LiveProcess; "
        "print(LiveProcess(RunFolder(Path(sys.argv[1]))).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        follower = psutil.Process(int(starter.stdout.readline()))
        os.kill(starter.pid, signal.SIGKILL)
    assert psutil.wait_procs([follower], timeout=ENOUGH_S)[1] == []


# --- in a terminal ---------------------------------------------------------------------------------------


def drawn(document: Live, width: int = 150) -> str:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(render(document, now_s=(MIDDLE_NS / NS)))
    return console.export_text()


def test_the_terminal_shows_verdicts_intervals_and_what_is_broken(
    rows: pd.DataFrame, policy: Policy, tmp_path: Path
) -> None:
    spoiled = failed_calls(rows)
    now = snapshot(spoiled)
    broken = Snapshot(
        "a-run", MIDDLE_NS, under_way(),
        history_with(tmp_path, fault_rows("network:down service-pubnub", MIDDLE_NS - 4 * NS, None)),
    )  # fmt: skip
    document = live_document(broken, judge_so_far(now, policy), every_s=1.0)
    text = drawn(document)
    for row in document.figures.objectives:
        (line,) = [line for line in text.splitlines() if row.title in line]
        mark = {"pass": "✓", "fail": "✗", "inconclusive": "?"}[row.verdict]
        assert line.startswith(mark)
        assert row.shown.measured in line
        assert row.shown.interval in line
    assert "⚡ network:down service-pubnub for 4 s" in text
    assert "moved early 0" in text
    assert "as of 3 s ago, judged each 1 s" in text


def test_colours_tell_the_verdict_too(rows: pd.DataFrame, policy: Policy) -> None:
    document = live_document(snapshot(rows), judge_so_far(snapshot(failed_calls(rows)), policy), every_s=1.0)
    console = Console(width=120, file=(out := io.StringIO()), force_terminal=True, color_system="standard")
    console.print(render(document, now_s=MIDDLE_NS / NS))
    assert "\x1b[1;31m✗" in out.getvalue()
    assert "\x1b[32m✓" in out.getvalue()


@pytest.mark.parametrize("problem", [None, "rows of 2 runs are mixed"])
def test_a_run_that_was_not_judged_yet_can_be_drawn(rows: pd.DataFrame, problem: str | None) -> None:
    document = live_document(snapshot(rows), None, problem=problem)
    assert (problem or "not judged yet") in drawn(document)
    assert (problem or "nothing judged yet") in one_line(document)


def test_one_line_names_what_fails(rows: pd.DataFrame, policy: Policy) -> None:
    line = one_line(live_document(snapshot(rows), judge_so_far(snapshot(failed_calls(rows)), policy)))
    assert "2 fail" in line
    assert "error_rate" in line
    assert "integrity violations: 0" in line
    assert "\n" not in line


def display(run: Path, *, terminal: bool) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display(run, Console(file=out, force_terminal=terminal, width=120)), out


def test_a_log_gets_a_line_now_and_then_instead_of_a_table(
    tmp_path: Path, rows: pd.DataFrame, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_live(tmp_path, live_document(snapshot(rows), judge_so_far(snapshot(rows), policy), every_s=15.0))
    shown, out = display(tmp_path, terminal=False)
    assert shown.judged_every_s > 1
    with shown:
        shown.stage("steady", 1, 40)
        shown.stage("steady", 2, 40)
        assert "objectives so far" not in out.getvalue()
        shown._next_line = 0.0
        shown.stage("steady", 3, 40)
        shown.stage("steady", 4, 40)
    assert out.getvalue().count("objectives so far") == 1
    assert out.getvalue().count("steady load") == 1
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_the_table_and_what_stays_are_the_stages(
    tmp_path: Path, rows: pd.DataFrame, policy: Policy
) -> None:
    shown, out = display(tmp_path, terminal=True)
    assert shown.judged_every_s == 1.0
    with shown:
        shown.stage("steady", 1, 40)
        write_live(tmp_path, live_document(snapshot(rows), judge_so_far(snapshot(rows), policy), every_s=1.0))
        shown.stage("steady", 7, 40)
        eventually(lambda: "objective so far" in out.getvalue())
        assert "7 of 40 s" in out.getvalue()
        assert "p95" in out.getvalue()
        before = len(out.getvalue())
    last = out.getvalue()[before:]
    assert "steady load" in last
    assert "objective so far" not in last
