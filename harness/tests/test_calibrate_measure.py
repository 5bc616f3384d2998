"""What the harness's own checks report of a calibration's record, on constructed rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from harness.calibrate.judge import judge
from harness.calibrate.measure import Findings, findings
from harness.calibrate.plan import PATHS, Plan, Step
from harness.documents.run import Run
from harness.history import SCHEMA, History, HistoryFile
from harness.judge import evidence_of
from harness.sla.policy import load_policy
from harness.stack.proxies import LOAD_SERVICE, PLAYERS_PUBNUB, SERVICE_PUBNUB

pytestmark = pytest.mark.slow

NS = 1_000_000_000
START = 1_790_000_000 * NS
GAMES = 20
HIT = 4
PHASES = ("waiting", "briefing", "drawing", "voting", "completed")

Rows = list[dict[str, Any]]


class Record:
    """A calibration whose every figure is known: each delivery takes 2 ms, each call 3 ms."""

    def __init__(self) -> None:
        self.rows: Rows = []
        self.steps: Rows = []
        self.now = START
        self._cohort = -1
        self._moves = 4
        self._random = np.random.default_rng(3)
        for name, value in (("clock_offset_ms", 0.0), ("clock_error_bound_ms", 0.1)):
            for actor in ("database", "pubnub"):
                self.rows.append(self._resource(name, actor, value))
        self._losses()
        for place in (PLAYERS_PUBNUB, SERVICE_PUBNUB, LOAD_SERVICE):
            for milliseconds in Plan((0, 50)).injected_ms:
                self._step("delay", place, injected_ms=milliseconds)
        for _ in range(3):  # the observers' last signs of life
            self.now += NS
            self.rows.append(self._resource("loop_lag_ms", "observer-1", 1.5))
            self.rows.append(self._resource("wall_minus_monotonic_ms", "observer-1", 5e9))
            self.rows.append(self._resource("cpu_percent", "load", 7.0))
            self.rows.append(self._resource("cpu_percent", "machine", 33.0))

    def findings(self) -> Findings:
        table = pa.Table.from_pylist(self.rows, schema=SCHEMA)
        history = History(
            table.unify_dictionaries(), [HistoryFile(Path("a.arrow"), "a", "r", len(self.rows), None)]
        )
        steady = {"name": "steady", "start_ns": START, "end_ns": self.now + NS}
        about = Run.model_validate({"id": "r", "windows": [steady]})
        evidence = evidence_of(history, about, load_policy(changes={"tolerances.settle": "500ms"}))
        return findings(evidence, [Step(**step) for step in self.steps], PATHS)

    def deliveries(self, step: int) -> Rows:
        """Return what was heard of the events of one step."""
        window = self.steps[step]
        return [
            row
            for row in self.rows
            if row["kind"] == "delivery"
            and row["name"] == "phase_changed"
            and window["start_ns"] <= row["start_ns"] < window["end_ns"]
        ]

    def step_of(self, name: str, milliseconds: int | None = None) -> int:
        return next(
            number
            for number, step in enumerate(self.steps)
            if step["name"] == name and milliseconds in (None, step.get("injected_ms"))
        )

    def _losses(self) -> None:
        for action in ("drop", "duplicate", "reorder"):
            self._step("loss", action)

    def _step(self, kind: str, name: str, injected_ms: int = 0) -> None:
        start_ns = self.now
        about: dict[str, Any] = {"injected_ms": injected_ms}
        if name == LOAD_SERVICE:
            self._calls(injected_ms)
        else:
            moves = 2 if name == "reorder" else 1
            if self._moves + moves > 4:
                self._join()
            games = [f"game-{self._cohort}-{number}" for number in range(GAMES)]
            hit = games[:HIT] if kind == "loss" else []
            about = about if kind == "delay" else {"hit": tuple(hit)}
            for move in range(moves):
                for game in games:
                    self._move(game, name if game in hit and move == 0 else "", injected_ms, late=name)
                self._moves += 1
                self.now += NS // 10
        self.now += NS
        self.steps.append({"kind": kind, "name": name, "start_ns": start_ns, "end_ns": self.now} | about)
        self.now += NS

    def _join(self) -> None:
        self._cohort += 1
        self._moves = 0
        for number in range(GAMES):
            game = f"game-{self._cohort}-{number}"
            self.rows.append(
                {
                    "kind": "delivery", "name": "subscribe", "actor": "player-1", "game": game,
                    "start_ns": self.now, "end_ns": self.now + 1000, "ok": True,
                }
            )  # fmt: skip
        self.now += NS

    def _move(self, game: str, done_to_it: str, injected_ms: int, *, late: str) -> None:
        self.now += NS // 100
        seq = self._moves + 1
        event = f"{game}-event-{seq}"
        self.rows.append(
            {
                "kind": "transition", "name": f"{PHASES[seq - 1]}->{PHASES[seq]}", "actor": "database",
                "game": game, "event": event, "seq": seq, "start_ns": self.now, "end_ns": self.now,
                "ok": True,
            }
        )  # fmt: skip
        if done_to_it == "drop":
            return
        accepted = self.now + 1_000_000 + (injected_ms * 1_000_000 if late == SERVICE_PUBNUB else 0)
        took = int(2e6 + abs(self._random.normal(0, 1e5)))
        took += injected_ms * 1_000_000 if late == PLAYERS_PUBNUB else 0
        took += NS // 2 if done_to_it == "reorder" else 0
        delivery = {
            "kind": "delivery", "name": "phase_changed", "actor": "player-1", "game": game, "event": event,
            "seq": seq, "start_ns": accepted, "end_ns": accepted + took, "ok": True,
        }  # fmt: skip
        self.rows.append(delivery)
        if done_to_it == "duplicate":
            self.rows.append(delivery | {"end_ns": delivery["end_ns"] + 1})

    def _calls(self, injected_ms: int) -> None:
        for _ in range(GAMES):
            self.now += NS // 100
            for kind, name, actor in (
                ("http", "POST /functions/v1/get-game-timer", "player-1"),
                ("monitor", "tick", "cron"),
            ):
                took = int(3e6 + abs(self._random.normal(0, 1e5))) + injected_ms * 1_000_000
                self.rows.append(
                    {
                        "kind": kind, "name": name, "actor": actor, "intended_ns": self.now,
                        "start_ns": self.now + 10_000, "end_ns": self.now + took, "ok": True,
                        "value": 200.0 if kind == "http" else 0.0,
                    }
                )  # fmt: skip

    def _resource(self, name: str, actor: str, value: float) -> dict[str, Any]:
        return {"kind": "resource", "name": name, "actor": actor, "start_ns": self.now, "value": value}


@pytest.fixture
def record() -> Record:
    return Record()


def judged(record: Record) -> dict[tuple[str, float], str]:
    return {(row.path, row.injected): row.verdict for row in judge(record.findings())}


def test_a_true_record_passes_on_every_path_and_in_every_loss(record: Record) -> None:
    found = record.findings()
    assert found.doubts == []
    paths = ("players", "commit", "publish", "http", "cron")
    losses = ("lost", "missed", "repeated", "overtaken")
    wanted = {(path, delay): "pass" for path in paths for delay in (0.0, 0.05)}
    assert judged(record) == wanted | {(loss, HIT): "pass" for loss in losses}


def test_each_path_is_the_checks_own_figure(record: Record) -> None:
    medians = {
        path.path.name: [np.median(path.floors[0]) * 1e3, np.median(path.delayed[0].samples) * 1e3]
        for path in record.findings().paths
    }
    assert medians == {
        "players": pytest.approx([2, 52], abs=0.3),
        "commit": pytest.approx([3, 53], abs=0.3),
        "publish": pytest.approx([3, 53], abs=0.3),
        "http": pytest.approx([3, 53], abs=0.3),
        "cron": pytest.approx([3, 53], abs=0.3),
    }
    assert {len(one.samples) for path in record.findings().paths for one in path.delayed} == {GAMES}


def test_the_machine_and_the_harness_are_read_meanwhile(record: Record) -> None:
    assert record.findings().conditions == {
        "machine_cpu_percent": 33.0,
        "harness_cpu_percent": 7.0,
        "loop_lag_ms": 1.5,
    }


def test_a_subscriber_that_hears_20_ms_late_fails_the_paths_it_is_on_and_no_other(record: Record) -> None:
    for row in record.deliveries(record.step_of(PLAYERS_PUBNUB, 50)):
        row["end_ns"] += 20_000_000
    failed = {key for key, verdict in judged(record).items() if verdict == "fail"}
    assert failed == {("players", 0.05), ("commit", 0.05)}


def test_a_commit_that_is_stamped_late_fails_what_counts_from_it(record: Record) -> None:
    window = record.steps[record.step_of(SERVICE_PUBNUB, 50)]
    for row in record.rows:
        if row["kind"] == "transition" and window["start_ns"] <= row["end_ns"] < window["end_ns"]:
            row["end_ns"] += 20_000_000
    failed = {key for key, verdict in judged(record).items() if verdict == "fail"}
    assert failed == {("publish", 0.05)}


def test_a_loss_that_is_not_seen_is_caught(record: Record) -> None:
    # A harness that takes an event for heard that the emulator delivered to nobody.
    step = record.steps[record.step_of("drop")]
    game = step["hit"][0]
    other = next(row for row in record.deliveries(record.step_of("drop")) if row["game"] not in step["hit"])
    record.rows.append(other | {"game": game, "event": f"{game}-event-{other['seq']}"})
    found = judged(record)
    assert (found["lost", HIT], found["missed", HIT]) == ("fail", "fail")


def test_an_event_that_gets_lost_under_a_delay_is_caught_though_nobody_injected_it(record: Record) -> None:
    gone = record.deliveries(record.step_of(PLAYERS_PUBNUB, 50))[5]
    record.rows.remove(gone)
    row = next(row for row in judge(record.findings()) if row.path == "lost")
    assert row.verdict == "fail"
    assert gone["game"] in row.reason


def test_a_repetition_or_an_overtaking_that_is_not_seen_is_caught(record: Record) -> None:
    twice = record.deliveries(record.step_of("duplicate"))
    record.rows.remove(twice[1])
    late = record.deliveries(record.step_of("reorder"))
    held = next(row for row in late if row["end_ns"] - row["start_ns"] > NS // 4)
    held["end_ns"] = held["start_ns"] + 2_000_000
    found = judged(record)
    assert (found["repeated", HIT], found["overtaken", HIT]) == ("fail", "fail")
    assert found["lost", HIT] == "pass"


def test_a_record_whose_clock_was_moved_is_doubtful_as_a_whole(record: Record) -> None:
    for row in record.rows:
        if row["kind"] == "monitor":
            row["end_ns"] = row["start_ns"] - NS
    found = record.findings()
    assert any("No row ends before it starts" in doubt for doubt in found.doubts)
    assert {row.verdict for row in judge(found)} == {"inconclusive"}
