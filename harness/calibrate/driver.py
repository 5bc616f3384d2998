"""Plays and calls for a calibration: the load's own clients, doing what they are told and nothing else.

A process of its own (``python -m harness.calibrate.driver``), as Locust is one: its clients are gevent's.
The first line on stdin is an :class:`~harness.observe.process.Assignment`, the others are commands, each
answered by one line on stdout:

``{"do": "games", "count": n}``
    make games and have one player listen to each; answered with ``games`` and how many are ``connected``.
``{"do": "move", "games": [...], "to": phase, "every_s": s}``
    move each game, one each ``every_s``; answered once all calls came back.
``{"do": "call", "game": id, "count": n, "every_s": s, "within_s": s}``
    ask for the game's timer so many times, and tick, both on schedule.
``{"do": "stop"}``
    end in order; answered with what is ``missing`` of the record.

It ends, with all that it started, when its stdin is closed.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import gevent
from gevent.fileobject import FileObject
from gevent.pool import Group
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook

from harness.history import HistoryWriter, now_ns
from harness.load.api import CONNECT_LIMIT_S, Api
from harness.load.cron import Cron
from harness.load.observers import ObserverError, ObserverProcess
from harness.load.subscribers import Subscribers
from harness.load.worker_run import observe_itself
from harness.observe.process import Assignment
from harness.target.client import ANSWER_LIMIT_S, has
from harness.target.consent import handed_over

Item = TypeVar("Item")

#: As the load of a run is called: the checks know it by that.
_LOAD: Final = "load"
_PLAYER: Final = "player-1"
#: No timer may move a game here: every move is made on purpose.
_PHASE_S: Final = 86_400
#: How long observers may look on after the last command.
_END_S: Final = 10.0
#: Calls that may be out at once.
_CONCURRENCY: Final = 1_000


class Driver:
    """The clients of one calibration, from the first to the last command.

    Parameters
    ----------
    assignment : run and target; settings ``prefix`` of the games' ids, ``processes`` to watch, ``logs``.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._target = assignment.target
        self._permission = handed_over(assignment.settings["permission"])
        self._prefix: str = assignment.settings["prefix"]
        self._history = HistoryWriter(assignment.history, _LOAD, assignment.run_id)
        self._own = gevent.spawn(observe_itself, _LOAD, self._history)
        logs = Path(assignment.settings["logs"])

        def observer(name: str, **settings: Any) -> Assignment:
            return Assignment(name, assignment.run_id, assignment.history, self._target, settings)

        self._subscribers = Subscribers([observer("observer-1")], logs)
        self._watch = ObserverProcess(
            "harness.observe.watch",
            observer(
                "observer-watch",
                prefix=self._prefix,
                probe_s=5.0,
                processes=assignment.settings["processes"],
                logs={},
                metrics={},
            ),
            logs,
        )
        self._hook = EventHook()
        self._api = Api(self._session(ANSWER_LIMIT_S), self._target, self._history)
        self._made = 0

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait for the observers; return what is wrong with the database, if it can't be read."""
        self._subscribers.wait_until_ready()
        return self._watch.wait_until_ready()

    def carry_out(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a command says and return what is answered."""
        match command.pop("do"):
            case "games":
                return self._games(**command)
            case "move":
                return self._move(**command)
            case "call":
                return self._call(**command)
            case unknown:
                raise ValueError(f"there is no command {unknown!r}")

    def stop(self) -> list[dict[str, str]]:
        """End in order; return what is missing of the record."""
        missing = self._subscribers.stop(0.0) + self._watch.stop(_END_S)
        self._own.kill()
        self._history.close()
        return [doubt.entry() for doubt in missing]

    def kill(self) -> None:
        """End at once, with all that was started."""
        self._subscribers.kill()
        self._watch.kill()

    def _session(self, limit_s: float) -> FastHttpSession:
        # Locust's session as players have it; its statistics have no listener here.
        return FastHttpSession(
            self._target.service_url,
            self._hook,
            user=None,
            network_timeout=limit_s,
            connection_timeout=CONNECT_LIMIT_S,
            max_retries=0,
            concurrency=_CONCURRENCY,
        )

    def _games(self, count: int) -> dict[str, Any]:
        games = [f"{self._prefix}{self._made + number}" for number in range(count)]
        self._made += count
        made = Group()
        connected = made.map(self._make, games)
        return {"games": games, "connected": sum(connected)}

    def _make(self, game: str) -> int:
        row = {
            "id": game,
            "prompt": "A ruler",
            "max_players": 2,
            "briefing_duration_s": _PHASE_S,
            "drawing_duration_s": _PHASE_S,
            "voting_duration_s": _PHASE_S,
        }
        if not self._api.call("POST", "/rest/v1/games", actor="host", body=row, expect=(201,), game=game).ok:
            return 0
        return self._subscribers.subscribe(game, [_PLAYER], lambda phase: None)

    def _move(self, games: list[str], to: str, every_s: float) -> dict[str, Any]:
        def move(game: str) -> bool:
            body = {"p_game_id": game, "p_new_status": to}
            path = "/rest/v1/rpc/transition_game_status"
            return self._api.call("POST", path, actor="host", body=body, check=has("id"), game=game).ok

        calls = Group()
        greenlets = [calls.spawn(move, game) for game, _ in _on_schedule(games, every_s)]
        calls.join()
        if to == "completed":
            for game in games:
                self._subscribers.over(game)
        return {"moved": sum(bool(greenlet.value) for greenlet in greenlets)}

    def _call(self, game: str, count: int, every_s: float, within_s: float) -> dict[str, Any]:
        def ask(due_ns: int) -> bool:
            return self._api.call(
                "POST",
                "/functions/v1/get-game-timer",
                actor=_PLAYER,
                body={"gameId": game},
                check=has("serverTime"),
                game=game,
                intended_ns=due_ns,
            ).ok

        cron = Cron(self._permission, every_s, self._history, self._hook)
        calls = Group()
        cron.start()
        # In between two ticks, so that neither waits for the other.
        gevent.sleep(every_s / 2)
        greenlets = [calls.spawn(ask, due_ns) for _, due_ns in _on_schedule(range(count), every_s)]
        cron.stop(within_s)
        calls.join()
        return {"answered": sum(bool(greenlet.value) for greenlet in greenlets)}


def _on_schedule(items: Iterable[Item], every_s: float) -> Iterator[tuple[Item, int]]:
    """Yield each item when it is due, with that time in Unix ns; whoever is late does not shift the rest."""
    due_ns = now_ns()
    for item in items:
        gevent.sleep(max(0.0, (due_ns - now_ns()) / 1e9))
        yield item, due_ns
        due_ns += round(every_s * 1e9)


def main() -> None:
    """Obey until told to stop, or until nobody is there any more."""
    # Ctrl-C is for whoever started us, and closes our stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = FileObject(sys.stdin.fileno(), "rb", closefd=False)
    first = lines.readline()
    if not first:
        return
    driver = Driver(Assignment.from_line(json.loads(first)))
    try:
        _answer(ready=True, **driver.wait_until_ready())
        for line in lines:
            command = json.loads(line)
            if command["do"] == "stop":
                _answer(missing=driver.stop())
                return
            _answer(**driver.carry_out(command))
    except ObserverError as error:
        _answer(error=str(error))
    finally:
        driver.kill()


def _answer(**document: Any) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
