"""What `mine` is: put your own service in the place of the example, step by step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from harness.system import (
    ApiWitness,
    Call,
    Heard,
    Item,
    Lifecycle,
    Local,
    Program,
    Seen,
    ServerSentEvents,
    Session,
    System,
    Timed,
    Words,
)
from harness.system.reading import integer, mapping, text


class Mine(System):
    """Rounds of questions: announced, then open for answers, then closed."""

    name = "mine"
    #: What reports and help call what is played, and who plays it.
    words = Words("round", "rounds", "player", "players")

    # 1. The states of an item, its moves, and which states a timer ends: each is an option of the load.
    lifecycle = Lifecycle(
        begins="announced",
        moves=("announced->open", "open->closed"),
        timed={"announced": Timed("2s", short="1s"), "open": Timed("3s", short="2s")},
        ends=frozenset({"closed"}),
    )

    # 2. How an item is made. Its mark must be found again in what is made; ids may be the server's.
    def start(self, session: Session, item: Item) -> None:
        """The host makes a round, which runs by itself."""
        body = {"title": item.mark, "seconds": dict(item.lengths)}
        made = session.insist("POST", "/rounds", body, actor=item.host, expect=(201,))
        item.known_as(made.body["id"])
        item.listen()

    # 3. Where a player listens: ServerSentEvents, WebSocket, or `channel` for PubNub.
    def listener(self, item: str, player: str, headers: Mapping[str, str]) -> ServerSentEvents:
        """Each player has a stream of a round's events."""
        return ServerSentEvents(f"{self.target.service_url}/rounds/{item}/events", headers)

    # 4. What a message says.
    def read(self, message: Any) -> Heard:
        """Read an event: {"round", "number", "state"}."""
        told = mapping(message, "message")
        return Heard(text(told, "round"), "moved", seq=integer(told, "number"), state=text(told, "state"))

    # 5. Where the truth about moves is read. Your own log of moves (SqlWitness) proves the most.
    witness = ApiWitness(every="500ms")

    def look(self, item: str) -> Call:
        """Ask for a round."""
        return Call("GET", f"/rounds/{item}")

    def seen(self, body: Any) -> Iterable[Seen]:
        """Read the answer."""
        times = (
            body[name] and datetime.fromisoformat(body[name]) for name in ("due_at", "entered_at", "now")
        )
        yield Seen(body["id"], body["state"], *times)

    # 6. What players do meanwhile; leave it out if they only listen.
    def act(self, session: Session, item: Item, player: str) -> None:
        """Answer some time into the open state."""
        if not item.wait_for("open") or item.wait(item.chance.uniform(0.1, 0.6) * item.lengths["open"]):
            return
        # Too late (409) is no failure of the service.
        session.call(
            "POST",
            f"/rounds/{item.id}/answers",
            {"by": player},
            actor=player,
            route="/rounds/<id>/answers",
            expect=(201, 409),
        )

    # 7. Where it tells whether it is well; leave it out if it does not.
    def health(self) -> Call:
        """The call that tells."""
        return Call("GET", "/health")

    def ill(self, status: int, body: Any) -> str | None:
        """Return what is ill; None: all is well."""
        return None if status == 200 else str(body)

    # 8. How it is started on a local stack. `needs = frozenset({"postgres", "pubnub"})` adds those.
    def processes(self, local: Local) -> list[Program]:
        """One process."""
        serve = [sys.executable, "example_service.py", str(local.port)]
        return [Program(serve, local.target.environment(), ready="/health")]
