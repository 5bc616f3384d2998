"""Subscribers: official SDK clients against the emulator, in the process that they run in."""

import json
import queue
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from harness.history import read_history
from harness.observe.process import Assignment
from harness.system import Heard, Unreadable, find_system
from harness.system.find import place_of
from harness.target import Target
from harness.tests.helpers import eventually

ENOUGH_S = 30.0


class Emulator(EmulatorProcess):
    """The PubNub emulator, on whose channels the service's events are published."""

    def publish(self, game: str, message: Any) -> int:
        """Publish on a game's channel and return the timetoken."""
        text = urllib.parse.quote(json.dumps(message), safe="")
        answer = urllib.request.urlopen(f"{self.url}/publish/pub-c-x/sub-c-x/0/game-{game}/0/{text}").read()
        return int(json.loads(answer)[2])

    def move(self, game: str, phase: str, seq: int) -> int:
        """Publish a change of phase as the service does."""
        envelope = {
            "type": "phase_changed",
            "gameId": game,
            "userId": "system",
            "version": "2.0.0",
            "eventId": f"{game}-event-{seq}",
            "seq": seq,
            "data": {"newPhase": phase},
        }
        return self.publish(game, envelope)


def target(pubnub: str) -> Target:
    return Target(
        service_url="http://127.0.0.1:9",
        service_role_key="x",
        cron_secret="x",
        pubnub_subscribe_key="sub-c-x",
        pubnub_origin=pubnub,
    )


class Subscribers:
    """A subscriber process, told what to do as Locust tells it."""

    def __init__(self, pubnub: str, folder: Path) -> None:
        self.history = folder / "history"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.observe.subscribers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._reports: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        system = {"system": place_of(find_system())}
        self.send(**Assignment("observer-1", "a-run", self.history, target(pubnub), system).to_line())
        self.expect("ready")

    def send(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def expect(self, key: str, value: object = None) -> dict[str, Any]:
        """Return the next report that has ``key`` (and ``value`` under it)."""
        while True:
            report = self._reports.get(timeout=ENOUGH_S)
            if key in report and value in (None, report[key]):
                return report

    def subscribe(self, game: str, players: int) -> int:
        headers: dict[str, dict[str, str]] = {f"player-{n + 1}": {} for n in range(players)}
        self.send(do="subscribe", game=game, players=headers)
        return int(self.expect("subscribed", game)["connected"])

    def stop(self, within_s: float = 5.0) -> dict[str, Any]:
        self.send(do="stop", within_s=within_s)
        final = self.expect("stopped")
        assert self.process.wait(ENOUGH_S) == 0
        return final

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        rows = read_history(self.history).table.to_pylist()
        return [row for row in rows if row["kind"] == "delivery" and name in (None, row["name"])]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._reports.put(json.loads(line))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def subscribers(emulator: Emulator, tmp_path: Path) -> Iterator[Subscribers]:
    listening = Subscribers(emulator.url, tmp_path)
    yield listening
    if listening.process.poll() is None:
        listening.process.kill()
        listening.process.wait()


def test_every_player_hears_every_event_of_its_game_and_of_no_other(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    assert [subscribers.subscribe(game, 3) for game in ("g1", "g2")] == [3, 3]
    timetokens = {}
    for seq, phase in enumerate(["briefing", "drawing", "voting", "completed"], start=1):
        for game in ("g1", "g2"):
            timetokens[f"{game}-event-{seq}"] = emulator.move(game, phase, seq)
    assert subscribers.stop() == {"stopped": True, "late": 0, "missing": []}

    heard = subscribers.rows("phase_changed")
    expected = {
        (f"player-{n}", game, f"{game}-event-{seq}", seq)
        for n in (1, 2, 3)
        for game in ("g1", "g2")
        for seq in (1, 2, 3, 4)
    }
    assert {(row["actor"], row["game"], row["event"], row["seq"]) for row in heard} == expected
    assert len(heard) == len(expected)
    for row in heard:
        assert row["ok"] is True
        assert row["start_ns"] == timetokens[row["event"]] * 100
        assert row["end_ns"] > row["start_ns"]


def test_subscriptions_and_their_ends_are_in_the_record(emulator: Emulator, subscribers: Subscribers) -> None:
    subscribers.subscribe("g1", 2)
    emulator.move("g1", "completed", 1)
    subscribers.stop()
    (first, second) = sorted(subscribers.rows("subscribe"), key=lambda row: row["actor"])
    assert (first["actor"], second["actor"]) == ("player-1", "player-2")
    assert first["ok"]
    assert first["start_ns"] < first["end_ns"]
    ends = subscribers.rows("unsubscribe")
    assert len(ends) == 2
    assert all(end["start_ns"] == end["end_ns"] > first["end_ns"] for end in ends)


def test_a_new_phase_is_told_once_whoever_hears_of_it_first(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    subscribers.subscribe("g1", 4)
    emulator.move("g1", "briefing", 1)
    assert subscribers.expect("phase") == {"game": "g1", "phase": "briefing"}
    emulator.move("g1", "completed", 2)
    assert subscribers.expect("phase") == {"game": "g1", "phase": "completed"}


def test_what_comes_twice_is_recorded_twice(emulator: Emulator, subscribers: Subscribers) -> None:
    subscribers.subscribe("g1", 1)
    for _ in range(2):
        emulator.move("g1", "briefing", 1)
    emulator.move("g1", "completed", 2)
    subscribers.stop()
    assert [row["event"] for row in subscribers.rows("phase_changed")].count("g1-event-1") == 2


def test_what_is_no_event_and_what_is_anothers_is_recorded_as_such(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    subscribers.subscribe("g1", 1)
    emulator.publish("g1", "no envelope")
    emulator.publish("g1", {"type": "phase_changed", "gameId": "other", "eventId": "e", "data": {}})
    emulator.publish("g1", {"type": "chat", "gameId": "g1", "eventId": "chat-1", "data": {}})
    emulator.move("g1", "completed", 1)
    subscribers.stop()
    heard = {
        row["name"]: (row["ok"], row["error"]) for row in subscribers.rows() if row["event"] != "g1-event-1"
    }
    assert heard["unreadable"] == (False, 'message is not an object, as in "no envelope"')
    assert heard["phase_changed"] == (False, "wrong item")
    assert heard["chat"] == (True, None)


def test_a_message_that_can_not_be_read_is_shown_once_short_and_escaped(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    subscribers.subscribe("g1", 1)
    for _ in range(2):
        emulator.publish("g1", {"type": "phase_changed", "gameId": "g1", "\x1b[31m": "\u00e9" * 300})
    emulator.move("g1", "completed", 1)
    subscribers.stop()
    first, second = sorted((row["error"] for row in subscribers.rows("unreadable")), key=len, reverse=True)
    assert first.startswith('no eventId, as in {"type": "phase_changed", "gameId": "g1"')
    assert "\\u001b[31m" in first
    assert first.isascii()
    assert len(first) < 250
    assert second == "no eventId"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, None),
        ({"seq": 3, "data": {"newPhase": "voting"}}, None),
        ({"seq": None, "data": None}, None),
        ({"eventId": 7}, "eventId is no text"),
        ({"type": None}, "type is no text"),
        ({"gameId": "\ud800"}, "gameId is no text"),
        ({"seq": "3"}, "seq is no whole number"),
        ({"seq": True}, "seq is no whole number"),
        ({"seq": 1 << 70}, "seq is no whole number"),
        ({"seq": float("nan")}, "seq is no whole number"),
        ({"gameId": float("nan")}, "gameId is no text"),
        ({"data": [1]}, "data is not an object"),
    ],
)
def test_no_message_can_spoil_the_record(fields: dict[str, Any], why: str | None) -> None:
    good = {"type": "phase_changed", "eventId": "e-1", "gameId": "g1"}
    assert why_unreadable(good | fields) == why
    assert why_unreadable([good]) == "message is not an object"
    assert why_unreadable({"type": "chat"}) == "no eventId"


def why_unreadable(message: object) -> str | None:
    """Return why the reference system can't read a message, None if it can."""
    try:
        heard = find_system()(target("http://127.0.0.1:9")).read(message)
    except Unreadable as error:
        return str(error)
    assert isinstance(heard, Heard)
    return None


def test_a_player_that_heard_the_end_leaves_and_its_sockets_go(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    process = psutil.Process(subscribers.process.pid)
    subscribers.expect("open", 0)
    before = process.num_fds()
    for game in range(5):
        subscribers.subscribe(f"g{game}", 4)
    eventually(lambda: process.num_fds() >= before + 20)
    for game in range(5):
        emulator.move(f"g{game}", "completed", 1)
    subscribers.expect("open", 0)
    eventually(lambda: process.num_fds() <= before + 1)  # one more: the clock's connection


def test_a_game_without_an_end_is_left_when_the_time_is_over(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    subscribers.subscribe("g1", 2)
    emulator.move("g1", "briefing", 1)
    assert subscribers.stop(within_s=0.5)["late"] == 2
    assert len(subscribers.rows("unsubscribe")) == 2


def test_a_process_without_a_starter_ends_by_itself_and_keeps_what_it_heard(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    subscribers.subscribe("g1", 1)
    emulator.move("g1", "briefing", 1)
    subscribers.expect("phase")
    assert subscribers.process.stdin is not None
    subscribers.process.stdin.close()
    assert subscribers.process.wait(ENOUGH_S) == 0
    assert len(subscribers.rows("phase_changed")) == 1


def test_the_offset_of_pubnubs_clock_is_known_with_its_bound(
    emulator: Emulator, subscribers: Subscribers
) -> None:
    subscribers.expect("open")
    subscribers.stop()
    rows = read_history(subscribers.history).table.to_pylist()
    (offset,) = [row["value"] for row in rows if row["name"] == "clock_offset_ms"]
    (bound,) = [row["value"] for row in rows if row["name"] == "clock_error_bound_ms"]
    # The very same clock: what is found must be 0, give or take the bound.
    assert abs(offset) <= bound + 0.001


def test_who_could_not_be_connected_is_when_pubnub_comes_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    subscribers = Subscribers(f"http://127.0.0.1:{port}", tmp_path)
    assert subscribers.subscribe("g1", 1) == 0
    try:
        with Emulator(["--port", str(port)]) as emulator:
            eventually(lambda: any(row["ok"] for row in subscribers.rows("subscribe")))
            emulator.move("g1", "completed", 1)
            subscribers.stop()
    finally:
        subscribers.process.kill()
        subscribers.process.wait()
    outcomes = [(row["ok"], row["error"]) for row in subscribers.rows("subscribe")]
    assert outcomes == [(False, "timeout"), (True, None)]
    assert len(subscribers.rows("phase_changed")) == 1
