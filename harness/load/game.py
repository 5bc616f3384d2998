"""One game as its host and players play it, from its creation to `completed`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.pool import Group

from harness.history import now_ns
from harness.load.api import Api
from harness.load.worker_run import WorkerRun
from harness.target.client import Answer, Check, has
from harness.target.errors import BAD_ANSWER

log = logging.getLogger(__name__)

#: The way of a game, in order.
PHASES: Final = ("waiting", "briefing", "drawing", "voting", "completed")
_OVER: Final = frozenset({"completed", "cancelled"})

#: Where in the drawing phase a player hands in its drawing, as shares of the phase.
SUBMIT_BETWEEN: Final = (0.1, 0.6)
#: Pauses between attempts of a step that the service could not serve: doubled each time, and chance added.
RETRY_FIRST_S: Final = 0.5
RETRY_LIMIT_S: Final = 4.0

_RETURN: Final = {"Prefer": "return=representation"}


class GameRefused(Exception):
    """The service refused a step for good (a 4xx): this game can't be played."""


class Game:
    """A game, its host and its players.

    Steps that the service could not serve (5xx, no answer) are tried again, as clients do, until the
    run is drained; each attempt is recorded.
    """

    def __init__(self, worker_run: WorkerRun, api: Api, slot: str, number: int) -> None:
        self.id = worker_run.game_id(slot, number)
        self.over = Event()
        self._worker_run = worker_run
        self._options = worker_run.options
        self._api = api
        self._host = f"host-{slot}"
        self._players = [f"player-{n + 1}" for n in range(worker_run.options.players)]
        self._chance = worker_run.chance(slot, number)
        self._phase = "waiting"
        self._reached = {phase: Event() for phase in PHASES}
        self._greenlets = Group()

    def create(self) -> None:
        """The host makes the game."""
        row = {
            "id": self.id,
            "prompt": "A lighthouse in a storm",
            "max_players": max(self._options.players, 2),
            "briefing_duration_s": self._options.briefing_s,
            "drawing_duration_s": self._options.drawing_s,
            "voting_duration_s": self._options.voting_s,
        }
        check = _rows({"id": self.id, "status": "waiting"})
        self._insist(self._host, "POST", "/rest/v1/games", row, expect=201, check=check, headers=_RETURN)

    def subscribe(self) -> None:
        """Every player's SDK client listens on the game's channel before the first event can be sent."""
        self._worker_run.subscribers.subscribe(self.id, self._players, self._reach)

    def join(self) -> None:
        """Every player joins."""
        for player in self._players:
            row = {"game_id": self.id, "user_id": self._user(player)}
            self._insist(player, "POST", "/rest/v1/game_participants", row, expect=201)

    def start(self) -> None:
        """The host starts the game: from here on its timers run."""
        self._insist(
            self._host,
            "POST",
            "/rest/v1/rpc/transition_game_status",
            {"p_game_id": self.id, "p_new_status": "briefing", "p_expected_status": "waiting"},
            check=_row({"id": self.id, "status": "briefing"}),
            done=lambda: self._status() in PHASES[1:],
        )
        self._reach("briefing")

    def play(self) -> None:
        """The players follow the timer and submit their drawings, until the game is over."""
        started_ns = now_ns()
        for player in self._players:
            offset_s = self._chance.uniform(0, self._options.sync_s)
            think_s = self._chance.uniform(*SUBMIT_BETWEEN) * self._options.drawing_s
            self._greenlets.spawn(self._follow_timer, player, started_ns + round(offset_s * 1e9))
            self._greenlets.spawn(self._submit, player, think_s)
        self.over.wait()

    def leave(self) -> None:
        """Stop all that still goes on for this game; its players listen on for what is late."""
        self.over.set()
        self._greenlets.kill(block=False)
        self._worker_run.subscribers.over(self.id)

    def _follow_timer(self, player: str, due_ns: int) -> None:
        """Ask for the timer on schedule, whether or not the last answer came (an open loop)."""
        every_ns = round(self._options.sync_s * 1e9)
        while not self.over.wait(timeout=max(0.0, (due_ns - now_ns()) / 1e9)):
            self._greenlets.spawn(self._ask_timer, player, due_ns)
            due_ns += every_ns

    def _ask_timer(self, player: str, due_ns: int) -> None:
        answer = self._api.call(
            "POST",
            "/functions/v1/get-game-timer",
            actor=player,
            body={"gameId": self.id},
            check=_timer,
            game=self.id,
            intended_ns=due_ns,
        )
        if answer.ok:
            self._reach(answer.body["phase"])

    def _submit(self, player: str, think_s: float) -> None:
        self._reached["drawing"].wait()
        if self.over.wait(timeout=think_s):
            return
        row = {
            "game_id": self.id,
            "user_id": self._user(player),
            "content": {
                "strokes": [[self._chance.randint(0, 800), self._chance.randint(0, 600)] for _ in range(8)]
            },
        }
        try:
            self._insist(player, "POST", "/rest/v1/submissions", row, expect=201)
        except GameRefused as refusal:
            # The game goes on without this drawing, when its grace period is over.
            log.warning("%s", refusal)

    def _reach(self, phase: str) -> None:
        """Note that a player knows of ``phase``, from its event or from the timer, whichever came first."""
        if phase in _OVER:
            self.over.set()
        elif phase in self._reached and PHASES.index(phase) > PHASES.index(self._phase):
            self._phase = phase
            self._reached[phase].set()

    def _status(self) -> str | None:
        answer = self._call(
            self._host,
            "GET",
            f"/rest/v1/games?id=eq.{self.id}&select=id,status",
            route="/rest/v1/games?id=eq.<id>",
            check=_rows({"id": self.id}),
        )
        return str(answer.body[0]["status"]) if answer.ok else None

    def _insist(
        self,
        actor: str,
        method: str,
        path: str,
        body: Any,
        *,
        expect: int = 200,
        check: Check | None = None,
        headers: Mapping[str, str] | None = None,
        done: Callable[[], bool] | None = None,
    ) -> None:
        """Call until it is served, with pauses that double.

        Parameters
        ----------
        done : tells whether an attempt took effect whose answer was lost. None: a conflict tells so.

        Raises
        ------
        GameRefused
            The service says that the call itself is wrong, or the run is being drained.
        """
        answer = self._call(actor, method, path, body, expect=(expect,), check=check, headers=headers)
        pause_s = RETRY_FIRST_S
        while not answer.ok:
            if answer.status is not None and 400 <= answer.status < 500 and answer.status != 429:
                raise GameRefused(f"{self.id}: {answer.error}: {answer.body}")
            if self._worker_run.draining.is_set():
                raise GameRefused(f"{self.id}: {answer.error}, and the run is over")
            gevent.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, RETRY_LIMIT_S)
            if done is None:
                answer = self._call(actor, method, path, body, expect=(expect, 409), headers=headers)
            elif done():
                return
            else:
                answer = self._call(actor, method, path, body, check=check, headers=headers)

    def _call(self, actor: str, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return self._api.call(method, path, actor=actor, body=body, game=self.id, **more)

    def _user(self, player: str) -> str:
        return f"{self.id}-{player}"


def _row(expected: dict[str, Any]) -> Check:
    """Return a check that the body is one row with these values."""

    def check(body: Any) -> str | None:
        row = body[0] if isinstance(body, list) and len(body) == 1 else body
        matches = isinstance(row, dict) and all(row.get(name) == value for name, value in expected.items())
        return None if matches else BAD_ANSWER

    return check


def _rows(expected: dict[str, Any]) -> Check:
    """Return a check that the body is a list of one row with these values."""
    one = _row(expected)
    return lambda body: one(body) if isinstance(body, list) else BAD_ANSWER


_has_timer_fields: Final = has("timeRemaining", "phaseDuration", "phaseExpiresAt", "serverTime", "phase")


def _timer(body: Any) -> str | None:
    """Say what is wrong with an answer of get-game-timer."""
    if wrong := _has_timer_fields(body):
        return wrong
    phase, remaining, length = body["phase"], body["timeRemaining"], body["phaseDuration"]
    if phase in PHASES[1:4]:
        numbers = all(isinstance(number, (int, float)) for number in (remaining, length))
        return None if numbers and remaining >= 0 and body["phaseExpiresAt"] is not None else BAD_ANSWER
    return None if phase in {*PHASES, *_OVER} else BAD_ANSWER
