"""An operator at work while games are played: what is done by hand, over the service's own calls."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

import requests

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Publish
from harness.target import Target
from harness.target.errors import name_of

if TYPE_CHECKING:
    from harness.experiment.experiment import Experiment

#: Who does what is done by hand, in the history.
OPERATOR: Final = "operator"
#: In the ids of games whose player hands nothing in.
DAWDLER: Final = "dawdler"
#: Name of the ``publish`` rows of dead letters that were found; those that were put back have another.
DEAD_LETTER: Final = "dead letter"
#: Name of the ``publish`` rows of messages that a flood is made of: ``start_ns`` is PubNub's timetoken.
FLOOD: Final = "flood"

_BROADCAST: Final = "/functions/v1/broadcast-pubnub-event"
_TIMER: Final = "/functions/v1/get-game-timer"
_MOVE: Final = "/rest/v1/rpc/transition_game_status"
_ANSWER_LIMIT_S: Final = 15.0
_LOOK_S: Final = 0.25
#: For so long no dead letter must turn up, then all are replayed.
_QUIET_S: Final = 1.5
#: Dawdlers that are enough to begin with, and how long they may take.
_DAWDLERS: Final = 3
_DAWDLING_LIMIT_S: Final = 15.0
#: How long it may take until a game is in the middle of its drawing phase.
_DRAWING_LIMIT_S: Final = 30.0
#: How long a flood waits, for what it is to fall into to begin.
_FLOOD_AFTER_S: Final = 0.5
#: A timetoken counts 100 ns units of Unix time.
_NS_PER_TICK: Final = 100


class Operator:
    """Somebody with the keys of ``target`` who moves games, seats players and replays dead letters.

    Each call is an ``http`` row of the actor ``operator``.

    Parameters
    ----------
    target : the service and its keys.
    history : where the calls are recorded.
    prefix : how the ids of the run's games begin: others' games are left alone.
    """

    def __init__(self, target: Target, history: HistoryWriter, prefix: str) -> None:
        self._target = target
        self._history = history
        self._prefix = prefix
        self._numbers = itertools.count(1)

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Return an operator of an experiment's stack, who looks after its games."""
        prefix = experiment.run.read()["game_prefix"]
        return cls(experiment.stack.target, experiment.history, prefix)

    @contextmanager
    def moving_games(self, every_s: float = 0.5) -> Iterator[None]:
        """Move each game whose phase is over, as the timers would, while the block runs."""
        with self._again_and_again(every_s, self._move_expired):
            yield

    @contextmanager
    def people_looking_on(self, people: int, every_s: float = 0.25) -> Iterator[None]:
        """Have so many people look through the games at once, again and again, while the block runs."""
        path = f"/rest/v1/games?id=like.{self._prefix}*&select=id,status&limit=1"

        def look(session: requests.Session) -> None:
            self._call(session, "GET", path, route="/rest/v1/games")

        with ExitStack() as looking:
            for _ in range(people):
                looking.enter_context(self._again_and_again(every_s, look))
            yield

    @contextmanager
    def dawdling_games(self, *, drawing_s: float, every_s: float = 0.5) -> Iterator[None]:
        """Start one game after the other whose only player hands nothing in, while the block runs.

        It begins once some of them have been through their drawing phase; all have been when it is left.
        """
        with self._again_and_again(every_s, lambda session: self._start_dawdler(session, drawing_s)):
            self._wait_until(lambda waiting, through: through >= _DAWDLERS)
            yield
        self._wait_until(lambda waiting, through: not waiting)

    @contextmanager
    def flooding(self, messages: int, *, ends_in_s: tuple[float, float]) -> Iterator[None]:
        """Send so many numbered messages to each game that is in its drawing phase, while the block runs.

        The block is begun when such a phase is about to end in that time, the first message is sent half a
        second later: what it is to fall into has begun then. Games whose phase ends sooner are left alone,
        their event could be lost among the messages.

        Parameters
        ----------
        messages : how many to each game, one after the other, as quickly as they are accepted.
        ends_in_s : least and longest time, in seconds, until the first of those phases ends.
        """
        floods = [
            threading.Thread(target=self._flood, args=(game, messages), name=OPERATOR, daemon=True)
            for game in self._games_drawing(*ends_in_s)
        ]
        for flood in floods:
            flood.start()
        try:
            yield
        finally:
            for flood in floods:
                flood.join()

    def replay_dead_letters(self) -> None:
        """Record which dead letters there are, have them replayed, and record which were: until none is left.

        An event that was refused last of all may only be set aside a moment later.
        """
        quiet_since = time.monotonic()
        with requests.Session() as session:
            while time.monotonic() < quiet_since + _QUIET_S:
                if self._replay(session):
                    quiet_since = time.monotonic()
                time.sleep(_LOOK_S)
        self._history.flush()

    def _replay(self, session: requests.Session) -> bool:
        """Replay what dead letters there are now; return whether any was put back."""
        told = self._call(session, "GET", "/functions/v1/dead-letters", otherwise={"deadLetters": []})
        letters = told["deadLetters"]
        if not letters:
            return False
        for letter in letters:
            self._history.append(
                Row(
                    "publish",
                    DEAD_LETTER,
                    OPERATOR,
                    game=letter["gameId"],
                    event=letter["eventId"],
                    seq=letter["seq"],
                    start_ns=round(datetime.fromisoformat(letter["failedAt"]).timestamp() * 1e9),
                    ok=False,
                    error=letter["reason"],
                    value=letter["attempts"],
                )
            )
        at_ns = now_ns()
        path = "/functions/v1/replay-dead-letters"
        replayed = self._call(session, "POST", path, {}, otherwise={"eventIds": []})["eventIds"]
        games = {letter["eventId"]: letter["gameId"] for letter in letters}
        for event in replayed:
            row = Row("publish", Publish.REPLAYED, OPERATOR, games.get(event), event, start_ns=at_ns, ok=True)
            self._history.append(row)
        return bool(replayed)

    def _wait_until(self, enough: Callable[[int, int], bool]) -> None:
        """Wait until it is ``enough`` how many dawdlers have not been through drawing, and how many have.

        Not for ever: what is missing then, the record tells.
        """
        deadline = time.monotonic() + _DAWDLING_LIMIT_S
        path = f"/rest/v1/games?id=like.{self._prefix}{DAWDLER}-*&select=status"
        with requests.Session() as session:
            while time.monotonic() < deadline:
                games = self._call(session, "GET", path, route="/rest/v1/games", otherwise=[])
                through = sum(game["status"] in {"voting", "completed"} for game in games)
                if games and enough(len(games) - through, through):
                    return
                time.sleep(_LOOK_S)

    def _games_drawing(self, least_s: float, longest_s: float) -> list[str]:
        """Wait until a drawing phase ends in that time; return games that draw so long or longer.

        Not for ever: that there is none then, the record tells.
        """
        deadline = time.monotonic() + _DRAWING_LIMIT_S
        path = f"/rest/v1/games?id=like.{self._prefix}*&status=eq.drawing&select=id"
        with requests.Session() as session:
            while time.monotonic() < deadline:
                left_s: dict[str, float] = {}
                for game in self._call(session, "GET", path, route="/rest/v1/games", otherwise=[]):
                    body = {"gameId": game["id"]}
                    timer = self._call(session, "POST", _TIMER, body, game=game["id"], otherwise={})
                    if timer.get("phase") == "drawing" and timer["timeRemaining"] >= least_s:
                        left_s[game["id"]] = timer["timeRemaining"]
                if left_s and min(left_s.values()) <= longest_s:
                    return list(left_s)
                time.sleep(_LOOK_S)
        return []

    def _flood(self, game: str, messages: int) -> None:
        time.sleep(_FLOOD_AFTER_S)
        with requests.Session() as session:
            for number in range(1, messages + 1):
                body = {
                    "type": "test",
                    "gameId": game,
                    "userId": OPERATOR,
                    "timestamp": now_ns() // 1_000_000,
                    "version": "2.0.0",
                    "data": {"number": number},
                }
                sent_ns = now_ns()
                answer = self._call(session, "POST", _BROADCAST, body, game=game, otherwise={})
                if not answer.get("success"):
                    continue
                self._history.append(
                    Row(
                        "publish",
                        FLOOD,
                        OPERATOR,
                        game=game,
                        event=answer["eventId"],
                        intended_ns=sent_ns,
                        start_ns=int(answer["gameChannel"]["timetoken"]) * _NS_PER_TICK,
                        end_ns=now_ns(),
                        ok=True,
                        value=number,
                    )
                )

    def _move_expired(self, session: requests.Session) -> None:
        expired = self._call(session, "POST", "/rest/v1/rpc/find_expired_games", {}, otherwise=[])
        for game in expired:
            if not game["game_id"].startswith(self._prefix):
                continue
            body = {
                "p_game_id": game["game_id"],
                "p_new_status": game["next_status"],
                "p_expected_status": game["status"],
            }
            # A conflict: somebody else moved it meanwhile.
            self._call(session, "POST", _MOVE, body, game=game["game_id"], expect=(200, 409))

    def _start_dawdler(self, session: requests.Session, drawing_s: float) -> None:
        game = f"{self._prefix}{DAWDLER}-{next(self._numbers)}"
        row = {
            "id": game,
            "prompt": "Nothing at all",
            "briefing_duration_s": 0.1,
            "drawing_duration_s": drawing_s,
            "voting_duration_s": 0.1,
        }
        self._call(session, "POST", "/rest/v1/games", row, game=game, expect=(201,))
        player = {"game_id": game, "user_id": f"{game}-player"}
        self._call(session, "POST", "/rest/v1/game_participants", player, game=game, expect=(201,))
        self._call(session, "POST", _MOVE, {"p_game_id": game, "p_new_status": "briefing"}, game=game)

    @contextmanager
    def _again_and_again(self, every_s: float, work: Callable[[requests.Session], None]) -> Iterator[None]:
        over = threading.Event()

        def go_on() -> None:
            with requests.Session() as session:
                while not over.wait(every_s):
                    work(session)

        thread = threading.Thread(target=go_on, name=OPERATOR, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _call(
        self,
        session: requests.Session,
        method: str,
        path: str,
        body: Any = None,
        *,
        route: str | None = None,
        game: str | None = None,
        expect: tuple[int, ...] = (200,),
        otherwise: Any = None,
    ) -> Any:
        """Call the service, record it, and return the answer's body; ``otherwise`` if it failed."""
        key = self._target.service_role_key
        start_ns = now_ns()
        status: int | None = None
        decoded: Any = otherwise
        try:
            answer = session.request(
                method,
                f"{self._target.service_url}{path}",
                json=body,
                headers={"apikey": key, "Authorization": f"Bearer {key}"},
                timeout=_ANSWER_LIMIT_S,
            )
            status = answer.status_code
            error = None if status in expect else f"http {status}"
            if error is None and answer.content:
                decoded = answer.json()
        except (requests.RequestException, ValueError) as failure:
            error = name_of(failure)
        self._history.append(
            Row(
                "http",
                f"{method} {route or path}",
                OPERATOR,
                game=game,
                start_ns=start_ns,
                end_ns=now_ns(),
                ok=error is None,
                error=error,
                value=status,
            )
        )
        return decoded
