"""An operator at work while games are played: what is done by hand, over the service's own calls."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Publish
from harness.target import Target
from harness.target.client import Client

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
_LOOK_S: Final = 0.25
#: For so long no dead letter must turn up, then all are replayed.
_QUIET_S: Final = 1.5
#: Dawdlers that are enough to begin with, and how long they may take besides drawing.
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
    drawing_s : how long the drawing phase of the games that are played is.
    """

    def __init__(
        self, target: Target, history: HistoryWriter, prefix: str, *, drawing_s: float = 2.0
    ) -> None:
        self.drawing_s = drawing_s
        self._target = target
        self._history = history
        self._prefix = prefix
        self._numbers = itertools.count(1)

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Return an operator of an experiment's stack, who looks after its games."""
        run = experiment.run.read()
        drawing_s = run.length_s("drawing")
        assert run.game_prefix is not None  # its load has begun
        assert drawing_s is not None
        return cls(experiment.stack.target, experiment.history, run.game_prefix, drawing_s=drawing_s)

    @contextmanager
    def moving_games(self, every_s: float = 0.5) -> Iterator[None]:
        """Move each game whose phase is over, as the timers would, while the block runs."""
        with self._again_and_again(every_s, self._move_expired):
            yield

    @contextmanager
    def people_looking_on(self, people: int, every_s: float = 0.25) -> Iterator[None]:
        """Have so many people look through the games at once, again and again, while the block runs."""
        path = f"/rest/v1/games?id=like.{self._prefix}*&select=id,status&limit=1"

        def look(client: Client) -> None:
            client.call("GET", path)

        with ExitStack() as looking:
            for _ in range(people):
                looking.enter_context(self._again_and_again(every_s, look))
            yield

    @contextmanager
    def dawdling_games(self, *, every_s: float = 0.5) -> Iterator[None]:
        """Start one game after the other whose only player hands nothing in, while the block runs.

        They draw as long as the others. It begins once some of them have been through their drawing phase;
        all have been when it is left.
        """
        with self._again_and_again(every_s, self._start_dawdler):
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
        with self._client() as client:
            while time.monotonic() < quiet_since + _QUIET_S:
                if self._replay(client):
                    quiet_since = time.monotonic()
                time.sleep(_LOOK_S)
        self._history.flush()

    def _replay(self, client: Client) -> bool:
        """Replay what dead letters there are now; return whether any was put back."""
        told = client.call("GET", "/functions/v1/dead-letters").body_or({"deadLetters": []})
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
        replayed = client.call("POST", path, body={}).body_or({"eventIds": []})["eventIds"]
        games = {letter["eventId"]: letter["gameId"] for letter in letters}
        for event in replayed:
            row = Row("publish", Publish.REPLAYED, OPERATOR, games.get(event), event, start_ns=at_ns, ok=True)
            self._history.append(row)
        return bool(replayed)

    def _wait_until(self, enough: Callable[[int, int], bool]) -> None:
        """Wait until it is ``enough`` how many dawdlers have not been through drawing, and how many have.

        Not for ever: what is missing then, the record tells.
        """
        deadline = time.monotonic() + self.drawing_s + _DAWDLING_LIMIT_S
        path = f"/rest/v1/games?id=like.{self._prefix}{DAWDLER}-*&select=status"
        with self._client() as client:
            while time.monotonic() < deadline:
                games = client.call("GET", path).body_or([])
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
        with self._client() as client:
            while time.monotonic() < deadline:
                left_s: dict[str, float] = {}
                for game in client.call("GET", path).body_or([]):
                    body = {"gameId": game["id"]}
                    timer = client.call("POST", _TIMER, body=body, game=game["id"]).body_or({})
                    if timer.get("phase") == "drawing" and timer["timeRemaining"] >= least_s:
                        left_s[game["id"]] = timer["timeRemaining"]
                if left_s and min(left_s.values()) <= longest_s:
                    return list(left_s)
                time.sleep(_LOOK_S)
        return []

    def _flood(self, game: str, messages: int) -> None:
        time.sleep(_FLOOD_AFTER_S)
        with self._client() as client:
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
                answer = client.call("POST", _BROADCAST, body=body, game=game).body_or({})
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

    def _move_expired(self, client: Client) -> None:
        expired = client.call("POST", "/rest/v1/rpc/find_expired_games", body={}).body_or([])
        for game in expired:
            if not game["game_id"].startswith(self._prefix):
                continue
            body = {
                "p_game_id": game["game_id"],
                "p_new_status": game["next_status"],
                "p_expected_status": game["status"],
            }
            # A conflict: somebody else moved it meanwhile.
            client.call("POST", _MOVE, body=body, game=game["game_id"], expect=(200, 409))

    def _start_dawdler(self, client: Client) -> None:
        game = f"{self._prefix}{DAWDLER}-{next(self._numbers)}"
        row = {
            "id": game,
            "prompt": "Nothing at all",
            "briefing_duration_s": 0.1,
            "drawing_duration_s": self.drawing_s,
            "voting_duration_s": 0.1,
        }
        client.call("POST", "/rest/v1/games", body=row, game=game, expect=(201,))
        player = {"game_id": game, "user_id": f"{game}-player"}
        client.call("POST", "/rest/v1/game_participants", body=player, game=game, expect=(201,))
        client.call("POST", _MOVE, body={"p_game_id": game, "p_new_status": "briefing"}, game=game)

    @contextmanager
    def _again_and_again(self, every_s: float, work: Callable[[Client], None]) -> Iterator[None]:
        over = threading.Event()

        def go_on() -> None:
            with self._client() as client:
                while not over.wait(every_s):
                    work(client)

        thread = threading.Thread(target=go_on, name=OPERATOR, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _client(self) -> Client:
        return Client(self._target, OPERATOR, self._history)
