"""Checkpoints of a rollout, told from the record of a version; and what follows from them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows
from harness.cli import main
from harness.documents.rollout import Checkpoint
from harness.judge.judgement import Judgement
from harness.rollout import version
from harness.rollout.checkpoints import _integrity, checkpoints, judged_so_far, untested
from harness.rollout.decision import Decision, decide
from harness.rollout.version import Version
from harness.sla.policy import PolicyError, load_policy
from harness.sla.promises import Rollout, Step
from harness.tests.synthetic_judging import plus
from scenarios.systems.drawing_game import DrawingGame

SHAPE = Shape(games_at_once=40, players=2, seconds=60, http_per_s=40)
QUARTER = Step(share=0.25, least_s=10)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def points(rows: pd.DataFrame, beside: pd.DataFrame | None = None) -> dict[str, Checkpoint]:
    """What is known of a version with this record at the end of its steady state."""
    other = None if beside is None else judged(beside)
    return {point.name: point for point in checkpoints(judged(rows), other)}


def judged(rows: pd.DataFrame) -> Judgement:
    since, to = START + SHAPE.warm_up * NS, START + (SHAPE.warm_up + SHAPE.seconds) * NS
    rows = rows[
        (rows["start_ns"] <= to + 3 * NS).to_numpy(bool, na_value=True)
    ]  # all that is written by then
    return judged_so_far(history_of(rows), run_of(SHAPE), load_policy(), since, to)


def spoiled(rows: pd.DataFrame, kind: str, every: int, **changes: Any) -> pd.DataFrame:
    rows = rows.copy()
    hit = rows.index[rows["kind"] == kind][::every]
    for column, value in changes.items():
        rows.loc[hit, column] = value
    return rows


def test_a_good_version_keeps_what_enough_is_known_of_and_breaks_nothing(rows: pd.DataFrame) -> None:
    found = points(rows)
    assert {name for name, point in found.items() if point.verdict == "fail"} == set()
    assert found["error_rate"].verdict == "pass"
    assert found["event_delivery"].verdict == "pass"
    # 0.1 % takes more moves than these.
    assert found["timer_accuracy"].verdict == "inconclusive"
    assert (found["timer_accuracy"].needed or 0) > found["timer_accuracy"].samples
    assert found["integrity"].verdict == "pass"
    assert found["alerts"].verdict == "inconclusive"
    of_none = {one.name: one for one in checkpoints(judged(rows), alerts=False)}
    assert of_none["alerts"].verdict == "not applicable"


def test_errors_of_2_percent_break_the_error_rate_and_say_since_when(rows: pd.DataFrame) -> None:
    late = rows["start_ns"] > START + 25 * NS
    bad = pd.concat([rows[~late], spoiled(rows[late], "http", 40, ok=False, error="http 500")])
    point = points(bad)["error_rate"]
    assert point.verdict == "fail"
    assert pd.Timestamp(point.bad_since or "").timestamp() == pytest.approx(START / NS + 25, abs=4)


def failing(rows: pd.DataFrame, from_s: float, to_s: float, every: int) -> pd.DataFrame:
    """Requests in a span of the run fail, each so many-th."""
    rows, at = rows.copy(), (rows["start_ns"] - START) / NS
    hit = rows.index[(rows["kind"] == "http") & (at >= from_s) & (at < to_s)][::every]
    rows.loc[hit, ["ok", "error"]] = False, "http 500"
    return rows


def test_what_both_versions_suffer_at_once_is_not_held_against_the_new_one(rows: pd.DataFrame) -> None:
    stalled = failing(rows, 20, 26, 2)
    assert points(stalled, beside=rows)["error_rate"].verdict == "fail"
    both = points(stalled, beside=stalled)["error_rate"]
    assert (both.bad, both.verdict) == (0, "pass")


def test_a_version_no_worse_than_the_old_one_is_not_blamed(rows: pd.DataFrame) -> None:
    # Not in the same seconds, or these were left out.
    new, old = failing(rows, 10, 30, 30), failing(rows, 34, 60, 10)
    assert points(new, beside=rows)["error_rate"].verdict == "fail"
    assert points(new, beside=old)["error_rate"].shared
    assert points(failing(new, 10, 30, 2), beside=old)["error_rate"].verdict == "fail"


def test_deliveries_slower_than_promised_break_their_latency(rows: pd.DataFrame) -> None:
    slow = rows.copy()
    heard = (slow["kind"] == "delivery") & (slow["name"] == "phase_changed")
    slow.loc[heard, "end_ns"] += 3 * NS
    found = points(slow)
    assert found["broadcast_latency"].verdict == "fail"
    assert found["error_rate"].verdict == "pass"


def test_events_that_nobody_heard_break_delivery_and_integrity(rows: pd.DataFrame) -> None:
    heard = rows.index[(rows["kind"] == "delivery") & (rows["name"] == "phase_changed")]
    event = rows.loc[heard, "event"]
    lost = event.drop_duplicates()[::20]
    found = points(rows.drop(heard[event.isin(lost)]))
    assert found["event_delivery"].verdict == "fail"
    assert found["integrity"].verdict == "fail"
    assert "lost" in found["integrity"].explanation


def test_an_alert_that_was_raised_fails(rows: pd.DataFrame) -> None:
    at = START + 20 * NS
    looked = {"kind": "alert", "actor": "/alerts", "start_ns": at, "end_ns": at}
    quiet = plus(rows, looked | {"name": "none", "ok": True})
    assert points(quiet)["alerts"].verdict == "pass"
    assert points(plus(quiet, looked | {"name": "High Error Rate", "ok": False}))["alerts"].verdict == "fail"


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_answer_that_tells_nothing_of_alerts_is_no_look_at_them(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    testbed = SimpleNamespace(
        system=DrawingGame(cast("Any", SimpleNamespace(authorization={}))),
        history=SimpleNamespace(append=kept.append),
    )
    at = cast("Version", SimpleNamespace(testbed=testbed, url="http://it"))
    answers = iter([(status, {}), (200, {"alerts": []})])
    monkeypatch.setattr(version, "look", lambda *_, **__: next(answers))
    Version._look_at_alerts(at)
    assert not kept
    Version._look_at_alerts(at)
    assert [row.name for row in kept] == ["none"]


def test_integrity_is_not_known_where_one_of_its_rules_is_in_doubt(rows: pd.DataFrame) -> None:
    found = judged(rows)
    (first, *others) = found.integrity
    doubted = first.model_copy(update={"doubts": ("its witness is missing",)})
    point = _integrity(replace(found, integrity=(doubted, *others)))
    assert point.verdict == "inconclusive"
    assert point.doubts == (f"{first.title.lower()}: its witness is missing",)
    broken = others[0].model_copy(update={"violations": 1})
    assert _integrity(replace(found, integrity=(doubted, broken))).verdict == "fail"


def test_a_game_that_is_late_is_not_lost_while_the_record_goes_on(rows: pd.DataFrame) -> None:
    def overdue(late_s: float) -> dict[str, Any]:
        found = START + 60 * NS
        return {
            "kind": "transition", "name": "overdue", "actor": "database", "game": "g-stuck",
            "error": "voting", "intended_ns": found - int(late_s * NS), "end_ns": found,
        }  # fmt: skip

    assert points(plus(rows, overdue(4)))["integrity"].verdict == "pass"
    assert points(plus(rows, overdue(14)))["integrity"].verdict == "fail"


# --- decisions ------------------------------------------------------------------------------------------


def point(name: str = "error_rate", **figures: Any) -> Checkpoint:
    return Checkpoint(
        **{"name": name, "title": name, "kind": "share", "limit": 0.005, "samples": 900} | figures
    )


KEPT = point(in_favour=50.0)
OPEN = point(in_favour=3.0)
BROKEN = point(bad=30, against=500.0, worse=500.0, fails_at=160.0)
SHARED = point(bad=30, against=500.0, worse=2.0, fails_at=160.0)
LOST = point("integrity", kind="never", bad=1, explanation="lost events 1")


@pytest.mark.parametrize(
    ("elapsed_s", "new", "old", "what"),
    [
        (10, KEPT, KEPT, "go on"),
        (9, KEPT, KEPT, "wait"),
        (99, OPEN, KEPT, "wait"),
        (100, OPEN, KEPT, "hold"),
        (1, BROKEN, KEPT, "roll back"),
        (1, BROKEN, OPEN, "roll back"),
        (1, SHARED, BROKEN, "hold"),
        (1, LOST, KEPT, "roll back"),
        (1, LOST, LOST, "hold"),
        (10, KEPT, BROKEN, "go on"),
        (1, BROKEN.model_copy(update={"doubts": ("no clock",)}), KEPT, "wait"),
        (10, point(samples=0, absent="it has none"), KEPT, "go on"),
        (10, point("drift", kind="growth"), KEPT, "go on"),
        (1, point("drift", kind="growth", bad=1), KEPT, "roll back"),
    ],
)
def test_what_follows(elapsed_s: float, new: Checkpoint, old: Checkpoint, what: str) -> None:
    assert decide(QUARTER, elapsed_s, 100, [new], [old]).what == what


def test_who_is_blamed_is_what_the_old_version_does_not_break() -> None:
    found = decide(QUARTER, 1, 100, [SHARED, LOST], [BROKEN])
    assert found == Decision("roll back", "integrity: lost events 1", (LOST,))


def test_a_rollout_does_not_begin_on_a_version_that_is_ill() -> None:
    assert decide(Step(share=0, least_s=5), 1, 100, [], [BROKEN]).what == "hold"
    assert decide(Step(share=0, least_s=5), 5, 100, [], [OPEN]).what == "go on"


def test_a_rollout_does_not_begin_before_anything_was_seen() -> None:
    step, unseen = Step(share=0, least_s=5), point("timer_accuracy", samples=0)
    assert decide(step, 5, 100, [], [OPEN, unseen]).what == "wait"
    assert decide(step, 100, 100, [], [OPEN, unseen]).what == "hold"


# --- the policy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            ["50% for 1s", "25% for 1s", "100% for 1s"],
            "must rise from step to step, up to 100%: 50%, 25%, 100%",
        ),
        (["25% for 1s", "50% for 1s"], "must rise"),
        (["25% for 1s", "25% for 1s", "100% for 1s"], "must rise"),
        ([], "must rise"),
        (["25%", "100% for 1s"], 'write a share and the least time, as in "25% for 20s"'),
    ],
)
def test_steps_that_do_not_rise_are_refused(steps: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rollout.model_validate({"steps": steps})


def test_an_unknown_checkpoint_is_named_with_its_line(tmp_path: Any) -> None:
    policy = tmp_path / "sla.toml"
    policy.write_text('extends = "default"\n[rollout]\ncheckpoints = ["error_rat"]\n', encoding="utf-8")
    with pytest.raises(PolicyError, match=r"sla.toml:3: rollout.checkpoints: no objective 'error_rat'"):
        load_policy(policy)


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("error_rate", '[objectives.error_rate]\nprofiles = ["soak"]', "of profile soak"),
        ("scenarios_passed", "", "with failure scenarios"),
    ],
)
def test_a_checkpoint_that_no_rollout_tests_is_refused_in_a_line(
    tmp_path: Any, name: str, more: str, told: str
) -> None:
    policy = tmp_path / "sla.toml"
    policy.write_text(f'extends = "default"\n[rollout]\ncheckpoints = ["{name}"]\n{more}\n', encoding="utf-8")
    done = CliRunner().invoke(main, ["rollout", "--local", "--new-env", "A=B", "--sla", str(policy)])
    assert done.exit_code == 2
    said = f"Error: rollout.checkpoints: '{name}' is judged in runs {told} alone"
    assert done.output.splitlines()[-1].startswith(said)


def test_the_checkpoints_of_the_shipped_policy_are_all_tested() -> None:
    assert untested(load_policy()) is None
