"""Injects known delays and losses into a testbed, one after the other, and notes what, when and on whom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict

import psutil

from harness.calibrate.plan import BUSY_PERCENT, MOST_HIT, Plan, Step, delay, setup_for
from harness.experiment.testbed import Testbed
from harness.faults.base import Fault
from harness.history import RunFolder, now_ns
from harness.sla.policy import load_policy
from harness.stack.pubnub_control import PubNubControl
from harness.system import OnPubNub, System

#: After what is sampled, before the delay ends: what was sent last has passed by then.
_MARGIN_S = 0.5
#: A step is repeated while the machine is busy, so often at most.
_ATTEMPTS = 3
#: Over the time that the games take to begin, and one game.
_WARM_UP_LIMIT_S = 60.0

Inject = Callable[[str, int], Fault | None]
Say = Callable[[str, int, int], None]


class CalibrationError(Exception):
    """There is nothing to compare: a part of the calibration itself did not do its work."""


def inject(
    run: RunFolder,
    plan: Plan,
    system: type[System],
    *,
    say: Say = lambda *_: None,
    fault_of: Inject = delay,
) -> None:
    """Carry out ``plan`` on a local stack; the history and ``run.json`` tell what happened.

    Parameters
    ----------
    run : a new run folder.
    system : whose games are played.
    say : told what goes on, the number of the step and how many there are.
    fault_of : makes the fault that delays a place by so many milliseconds.

    Raises
    ------
    CalibrationError, ProcessError, StackError, FaultError
        The stack, the load or the means of injection failed.
    """
    say("starting a stack and games", 0, plan.steps)
    with contextlib.closing(
        Testbed(setup_for(system, max(plan.delays_ms)), run, load_policy(), system)
    ) as testbed:
        testbed.load.wait_for("steady", 2 * testbed.game_s + _WARM_UP_LIMIT_S)
        steps: list[Step] = []

        def note(step: Step) -> None:
            if testbed.load.exit_code is not None:
                raise CalibrationError(f"the load ended by itself: {testbed.load.last_words()}")
            steps.append(step)
            run.update(steps=[asdict(step) for step in steps])

        for action in plan.actions:
            say(f"messages hit by {action}", len(steps), plan.steps)
            note(_loss(testbed, action))
        for place in plan.places:
            for milliseconds in plan.injected_ms:
                say(f"{place} delayed by {milliseconds} ms", len(steps), plan.steps)
                note(_calmest(testbed, place, fault_of(place, milliseconds), milliseconds, plan.window_s))
        say("letting the games end", plan.steps, plan.steps)
        testbed.finish()
        run.update(interrupted=False)  # It was ended on purpose.


def _calmest(testbed: Testbed, place: str, fault: Fault | None, milliseconds: int, window_s: float) -> Step:
    """Delay a place, again where the machine was busy; return the attempt during which it was least so."""
    attempts: list[Step] = []
    while not attempts or (attempts[-1].cpu_percent > BUSY_PERCENT and len(attempts) < _ATTEMPTS):
        # The record does not declare the fault: the checks leave out what is near a declared one.
        with fault.inject(testbed.stack) if fault is not None else contextlib.nullcontext():
            start_ns = now_ns()
            psutil.cpu_percent()
            time.sleep(window_s)
            busy, end_ns = psutil.cpu_percent(), now_ns()
            time.sleep(milliseconds / 1000 + _MARGIN_S)
        attempts.append(Step("delay", place, start_ns, end_ns, milliseconds, busy))
    return min(attempts, key=lambda step: step.cpu_percent)


def _loss(testbed: Testbed, action: str) -> Step:
    """Have the emulator lose, repeat or hold back one message of each of some games; only it knows which."""
    target, system = testbed.stack.target, testbed.system
    assert isinstance(system, OnPubNub)
    assert target.pubnub_control_url is not None
    assert target.pubnub_control_token is not None
    control = PubNubControl(target.pubnub_control_url, target.pubnub_control_token)
    held = {"held_s": 3 * testbed.game_s} if action == "reorder" else {}
    with contextlib.ExitStack() as rules:
        start_ns = now_ns()
        applied = {
            game: rules.enter_context(
                control.break_requests(
                    action,
                    operations=["publish"],
                    channels=[system.channel(game, "player-1")],
                    requests=1,
                    **held,
                )
            )
            for game in _new_games(testbed)
        }
        time.sleep(testbed.game_s)
        hit = tuple(game for game, rule in applied.items() if rule.applied)
    if not hit:
        raise CalibrationError(f"no message was hit by {action}; see logs/locust.log, logs/service-1.log")
    return Step("loss", action, start_ns, now_ns(), hit=hit)


def _new_games(testbed: Testbed) -> list[str]:
    """Return games of which all but the first message is still to come, the newest first."""
    evidence = testbed.evidence()
    moves = evidence.transitions.sort_values("start_ns", ascending=False, kind="stable")
    only = moves[~moves["game"].duplicated(keep=False) & (moves["from"] == testbed.system.lifecycle.begins)]
    labels = (evidence.label("game", int(number)) for number in only["game"].head(MOST_HIT))
    return [game for game in labels if game is not None]
