"""The players' subscriptions of a Locust process, held by its subscriber processes, a kind of observers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.event import AsyncResult

from harness.history.witnesses import Doubt
from harness.load.observers import ObserverProcess
from harness.observe.process import Assignment
from harness.system import SystemFileError

#: Over the observer's own limit for connecting.
SUBSCRIBE_LIMIT_S: Final = 15.0


class Subscribers:
    """Subscriber processes that share the games of one Locust process between them.

    Parameters
    ----------
    assignments : one for each subscriber process.
    logs : folder for their logs.
    """

    def __init__(self, assignments: list[Assignment], logs: Path) -> None:
        self._on_phase: dict[str, Callable[[str], None]] = {}
        self._connected: dict[str, AsyncResult[int]] = {}
        self._open = [0] * len(assignments)
        self._heard = [0] * len(assignments)
        self._turn = 0
        self._process_of: dict[str, ObserverProcess] = {}
        self._processes = [
            ObserverProcess("harness.observe.subscribers", assignment, logs, self._reporter(index))
            for index, assignment in enumerate(assignments)
        ]

    def wait_until_ready(self) -> None:
        """Wait until all processes are up.

        Raises
        ------
        ObserverError
            One of them could not begin.
        """
        for process in self._processes:
            process.wait_until_ready()

    @property
    def open(self) -> int:
        """Players who are still listening, as of at most a second ago."""
        return sum(self._open) + len(self._connected)

    @property
    def heard(self) -> int:
        """Messages that players have heard, as of at most a second ago."""
        return sum(self._heard)

    def subscribe(
        self, game: str, players: Mapping[str, Mapping[str, str]], on_phase: Callable[[str], None]
    ) -> int:
        """Have players listen and wait for it; return how many are connected.

        Parameters
        ----------
        players : the headers of each, by name.
        on_phase : called with each new state that the first of them hears of.

        Raises
        ------
        SystemFileError
            The system's file does not say how they listen.
        """
        process = self._processes[self._turn % len(self._processes)]
        self._turn += 1
        self._process_of[game] = process
        self._on_phase[game] = on_phase
        connected = self._connected[game] = AsyncResult()
        process.send(do="subscribe", game=game, players=dict(players))
        try:
            return int(connected.get(timeout=SUBSCRIBE_LIMIT_S))
        except gevent.Timeout:
            return 0
        finally:
            self._connected.pop(game, None)

    def over(self, game: str) -> None:
        """Tell the players that their game is over: they stop listening when they have heard of it."""
        self._on_phase.pop(game, None)
        process = self._process_of.pop(game, None)
        if process is not None:
            process.send(do="over", game=game)

    def stop(self, within_s: float) -> list[Doubt]:
        """End all processes; return what is missing of what they should have heard."""
        stops = [gevent.spawn(process.stop, within_s) for process in self._processes]
        gevent.joinall(stops)
        return [doubt for stop in stops for doubt in stop.get()]

    def kill(self) -> None:
        """End all processes at once."""
        for process in self._processes:
            process.kill()

    def _reporter(self, index: int) -> Callable[[dict[str, Any]], None]:
        def on_report(report: dict[str, Any]) -> None:
            if "open" in report:
                self._open[index], self._heard[index] = report["open"], report["heard"]
            elif "subscribed" in report:
                waiting = self._connected.get(report["subscribed"])
                if waiting is None:
                    return
                if "error" in report:
                    waiting.set_exception(SystemFileError(report["error"]))
                else:
                    waiting.set(report["connected"])
            elif "phase" in report:
                on_phase = self._on_phase.get(report["game"])
                if on_phase is not None:
                    on_phase(report["phase"])

        return on_report
