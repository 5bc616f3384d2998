"""Injects known delays and losses, one after the other, while the driver plays; notes what, when, on whom."""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import psutil

from harness.calibrate.plan import ACTIONS, BUSY_PERCENT, MOST_HIT, PLACES, Plan, delay
from harness.faults.base import Fault
from harness.files import open_log
from harness.history import RunFolder, now_ns
from harness.observe.process import Assignment
from harness.stack import Stack, StackOptions, start_stack
from harness.stack.pubnub_control import PubNubControl
from harness.target import game_channel

#: Between two events, and between two calls: each meets an idle system.
EVERY_S: Final = 0.02
#: Between two calls, and between two ticks: the service sees twice as many.
CALL_EVERY_S: Final = 0.04
#: After the last event of a step, over its delay.
MARGIN_S: Final = 0.5
#: Steps are repeated while the machine is busy: each so often at most, and so often in all.
_ATTEMPTS: Final = 3
_REPEATS: Final = 12
#: Of the games, one in so many is hit by a loss.
_HIT_ONE_IN: Final = 5
#: How long the emulator holds back what is to be overtaken; the next event comes long before.
_HELD_S: Final = 30.0
#: What all answers of the driver may take, over what the command itself takes.
_PATIENCE_S: Final = 60.0
_END_LIMIT_S: Final = 10.0

_PHASES: Final = ("briefing", "drawing", "voting", "completed")

Inject = Callable[[str, int], Fault | None]
Say = Callable[[str, int, int], None]


class CalibrationError(Exception):
    """There is nothing to compare: a part of the calibration itself did not do its work."""


def conduct(run: RunFolder, plan: Plan, *, say: Say = lambda *_: None, inject: Inject = delay) -> None:
    """Carry out ``plan`` on a stack of its own; the history and ``run.json`` tell what happened.

    Parameters
    ----------
    run : a new run folder.
    say : told what goes on, the number of the step and how many there are.
    inject : makes the fault that delays a place by so many milliseconds.

    Raises
    ------
    CalibrationError, StackError, FaultError
        The stack, the driver or the means of injection failed.
    """
    say("starting the local stack", 0, plan.steps)
    options = StackOptions(log_folder=run.logs, advertise=False)
    with start_stack(options, say=lambda text: say(text, 0, plan.steps)) as stack:
        run.update(target=stack.target.public())
        with DriverProcess(run, stack) as driver:
            conductor = Conductor(run, plan, stack, driver, say, inject)
            conductor.losses()
            for place in PLACES:
                conductor.delays(place)
            conductor.end()


class Conductor:
    """Carries out the steps of one calibration; each is noted in ``run.json`` when it is over."""

    def __init__(
        self, run: RunFolder, plan: Plan, stack: Stack, driver: DriverProcess, say: Say, inject: Inject
    ) -> None:
        self._run = run
        self._plan = plan
        self._stack = stack
        self._driver = driver
        self._say = say
        self._inject = inject
        self._steps: list[dict[str, Any]] = []
        self._games: list[str] = []
        self._moves = 0
        self._repeats = 0
        self._began_ns = now_ns()

    def losses(self) -> None:
        """Have the emulator lose, repeat and reorder the events of some games, of which nobody else knows."""
        target = self._stack.target
        assert target.pubnub_control_url is not None
        assert target.pubnub_control_token is not None
        control = PubNubControl(target.pubnub_control_url, target.pubnub_control_token)
        for action in ACTIONS:
            self._tell(f"messages hit by {action}")
            self._ready_to_move(2 if action == "reorder" else 1)
            hit = self._games[::_HIT_ONE_IN][:MOST_HIT]
            arguments: dict[str, Any] = {"held_s": _HELD_S} if action == "reorder" else {}
            start_ns = now_ns()
            with control.break_requests(
                action,
                operations=["publish"],
                channels=[game_channel(game) for game in hit],
                requests=len(hit),
                **arguments,
            ) as rule:
                self._move()
                if action == "reorder":
                    time.sleep(MARGIN_S)
                    self._move()
                time.sleep(MARGIN_S)
            about = {"games": self._games, "hit": hit, "applied": rule.applied}
            step = {"kind": "loss", "name": action, "start_ns": start_ns, "end_ns": now_ns()}
            self._note(step | about)

    def delays(self, place: str) -> None:
        """Delay a place by each of the plan's delays in turn."""
        for milliseconds in self._plan.injected_ms:
            what = f"{place} delayed by {milliseconds} ms"
            self._tell(what)
            attempts = [self.attempt(place, milliseconds)]
            while (
                attempts[-1]["cpu_percent"] > BUSY_PERCENT
                and len(attempts) < _ATTEMPTS
                and self._repeats < _REPEATS
            ):
                # Decided by the machine alone, whatever was measured.
                self._repeats += 1
                self._tell(f"{what}, again: CPU {attempts[-1]['cpu_percent']:.0f} %")
                attempts.append(self.attempt(place, milliseconds))
            self._note(min(attempts, key=lambda step: float(step["cpu_percent"])))

    def attempt(self, place: str, milliseconds: int) -> dict[str, Any]:
        """Delay a place once and return the step."""
        self._ready_to_move(1)
        fault = self._inject(place, milliseconds)
        with fault.inject(self._stack) if fault is not None else contextlib.nullcontext():
            step = {"kind": "delay", "name": place, "injected_ms": milliseconds, "start_ns": now_ns()}
            psutil.cpu_percent()
            if PLACES[place] == "events":
                self._move()
                busy = psutil.cpu_percent()
                time.sleep(milliseconds / 1000 + MARGIN_S)
            else:
                self._call(milliseconds / 1000)
                busy = psutil.cpu_percent()
            return step | {"end_ns": now_ns(), "cpu_percent": busy}

    def end(self) -> None:
        """Let the driver look on until what never came is known to be lost, and end it."""
        self._tell("letting late events arrive")
        time.sleep(max(self._plan.injected_ms) / 1000 + MARGIN_S)
        missing = self._driver.ask(_END_LIMIT_S, do="stop")["missing"]
        self._run.update(missing=missing)

    def _ready_to_move(self, moves: int) -> None:
        """Have games that can still move so many times: each has four moves in it."""
        if self._games and self._moves + moves <= len(_PHASES):
            return
        count = self._plan.repetitions
        made = self._driver.ask(0.2 * count, do="games", count=count)
        if made["connected"] < count:
            raise CalibrationError(
                f"only {made['connected']} of {count} players could be connected; "
                "see logs/driver.log and logs/observer-1.log"
            )
        self._games, self._moves = made["games"], 0

    def _move(self) -> None:
        to = _PHASES[self._moves]
        self._moves += 1
        takes_s = EVERY_S * len(self._games)
        answer = self._driver.ask(takes_s, do="move", games=self._games, to=to, every_s=EVERY_S)
        if answer["moved"] < len(self._games):
            raise CalibrationError(
                f"only {answer['moved']} of {len(self._games)} games could be moved to {to}; "
                "see logs/service-1.log"
            )

    def _call(self, delay_s: float) -> None:
        count = self._plan.repetitions
        self._driver.ask(
            CALL_EVERY_S * count + delay_s,
            do="call",
            game=self._games[0],
            count=count,
            every_s=CALL_EVERY_S,
            within_s=delay_s + MARGIN_S,
        )

    def _tell(self, what: str) -> None:
        self._say(what, len(self._steps), self._plan.steps)

    def _note(self, step: dict[str, Any]) -> None:
        self._steps.append(step)
        whole = {"name": "steady", "start_ns": self._began_ns, "end_ns": now_ns()}
        self._run.update(steps=self._steps, windows=[whole])


class DriverProcess:
    """The driver, from start to end; leaving the block ends it whatever happened.

    Raises
    ------
    CalibrationError
        It could not begin, or ended by itself.
    """

    def __init__(self, run: RunFolder, stack: Stack) -> None:
        self._log = run.logs / "driver.log"
        with open_log(self._log) as log:
            # A session of its own: Ctrl-C is for us, who end it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.calibrate.driver"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, name="driver", daemon=True).start()
        processes = {name: pid for name in stack.parts if (pid := stack.pid(name)) is not None}
        settings = {
            "prefix": f"cal{secrets.token_hex(4)}-",
            "processes": processes,
            "logs": str(run.logs.absolute()),
            "permission": stack.permission.environment(),
        }
        history = run.history.absolute()
        assignment = Assignment("driver", run.id, history, stack.target, settings)
        try:
            self._send(assignment.to_line())
            ready = self._next(_PATIENCE_S)
        except BaseException:
            # Whatever it is, Ctrl-C too: the process must not outlive it.
            self.end()
            raise
        if "error" in ready:
            self.end()
            raise CalibrationError(f"the driver could not begin: {ready['error']}")

    def ask(self, takes_s: float, **command: Any) -> dict[str, Any]:
        """Have a command carried out that takes about ``takes_s``; return its answer."""
        self._send(command)
        answer = self._next(takes_s + _PATIENCE_S)
        if "error" in answer:
            raise CalibrationError(f"the driver failed: {answer['error']}")
        return answer

    def end(self) -> None:
        """End it; a driver whose stdin is closed ends its observers and itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _send(self, document: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise CalibrationError(self._story("the driver is gone")) from None

    def _next(self, timeout_s: float) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise CalibrationError(self._story(f"the driver did not answer for {timeout_s:.0f} s")) from None
        if answer is None:
            raise CalibrationError(self._story("the driver ended by itself"))
        return answer

    def _story(self, what: str) -> str:
        lines = self._log.read_text(errors="replace", encoding="utf-8").strip().splitlines()
        return f"{what}; the end of its log: {' | '.join(lines[-3:]) or 'empty'}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)
