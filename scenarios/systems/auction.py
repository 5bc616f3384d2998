"""The auction house: lots with ids of the server's, a token for each bidder, bids that others hear of."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from harness.system import (
    Call,
    Heard,
    Item,
    Levers,
    Lifecycle,
    Listener,
    Local,
    Program,
    PubNub,
    Session,
    SqlCleaning,
    System,
    Timed,
    Unreadable,
    WatchWitness,
    WebSocket,
    Words,
)
from harness.system.reading import integer, mapping, text
from harness.target.client import has
from harness.target.errors import BAD_ANSWER

_SQL: Final = Path(__file__).with_name("auction_sql")
#: Cents of the first bid; each later one is as much higher.
_STEP: Final = 1_000


class Auction(System):
    """A house and the bidders of a lot: it is added, announced, bid for, and sold or passed."""

    name = "auction"
    words = Words("lot", "lots", "bidder", "bidders")
    lifecycle = Lifecycle(
        begins="announced",
        moves=(
            "announced->bidding",
            "bidding->sold",
            "bidding->passed",
            "announced->withdrawn",
            "bidding->withdrawn",
        ),
        timed={"announced": Timed("3s", short="2s"), "bidding": Timed("6s", short="3s")},
        ends=frozenset({"sold", "passed", "withdrawn"}),
    )
    #: The house has no log of moves.
    witness = WatchWitness("lots", due_at="ends_at", mark="title", by_hand=frozenset({"withdrawn"}))
    cleaning = SqlCleaning.from_folder(_SQL)
    levers = Levers.from_folder(_SQL, tables=("bidders", "lots", "bids"), items="lots", state="state")
    without_extensions: ClassVar = {"AUCTION_EXTEND_S": "0"}
    health_tells = frozenset({"database"})
    sessions = 10
    ticks_every = "1s"
    needs = frozenset({"postgres", "pubnub"})

    def user(self, actor: str) -> Mapping[str, str]:
        """The house's token; bidders have their own once they signed in."""
        return _token(self.target.service_role_key)

    def start(self, session: Session, item: Item) -> None:
        """The bidders sign in, the house adds the lot; it is announced for a while, and then bid for."""
        for player in item.players:
            new = {"name": f"{item.mark}/{player}"}
            bidder = session.insist(
                "POST", "/bidders", new, actor=item.host, expect=(201,), check=has("token")
            )
            item.sign_in(player, _token(bidder.body["token"]))
        seconds = {f"{state}_s": length for state, length in item.lengths.items()}
        lot = {"title": item.mark, "reserve_cents": _STEP, **seconds}
        added = session.insist("POST", "/lots", lot, actor=item.host, expect=(201,), check=has("id"))
        item.known_as(added.body["id"])

    def channel(self, item: str, player: str) -> str:
        """Each lot has a channel."""
        return f"lots.{item}"

    def listener(self, item: str, player: str, headers: Mapping[str, str]) -> Listener:
        """Every second bidder listens over a WebSocket, the others on PubNub."""
        if int(player.rpartition("-")[2]) % 2:
            return PubNub(self.target, self.channel(item, player), f"{item}-{player}")
        return WebSocket(f"{self.target.service_url}/lots/{item}/stream", headers)

    def read(self, message: Any) -> Heard:
        """Read what is told of a lot: the state that it is in now, or a bid. Neither has an id."""
        told = mapping(message, "message")
        lot = text(told, "lot")
        if (cents := integer(told, "bid")) is not None:
            return Heard(lot, "bid", event=_bid(lot, cents))
        return Heard(lot, "moved", state=text(told, "now"))

    def act(self, session: Session, item: Item, player: str) -> None:
        """Bid once, one after the other, the last ones late: that extends the bidding."""
        turn = item.players.index(player)
        think_s = (turn + item.chance.uniform(0.1, 0.9)) / len(item.players) * item.lengths["bidding"]
        if not item.wait_for("bidding") or item.wait(think_s):
            return
        cents = (turn + 1) * _STEP
        path, route, event = f"/lots/{item.id}/bids", "/lots/<id>/bids", _bid(item.id, cents)
        # Refused, another one was quicker, or it is over.
        session.call(
            "POST", path, {"cents": cents}, actor=player, route=route, expect=(201, 409), event=event
        )

    def health(self) -> Call:
        """The house tells whether its database answers."""
        return Call("GET", "/healthz")

    def ill(self, status: int, body: Any) -> str | None:
        """Read that."""
        if not (isinstance(body, dict) and isinstance(body.get("ok"), bool)):
            raise Unreadable(BAD_ANSWER if status in {200, 503} else f"http {status}")
        return None if body["ok"] else "database"

    def processes(self, local: Local) -> list[Program]:
        """The house, from this checkout."""
        target = local.target
        return [
            Program(
                [sys.executable, "-m", "fixtures.auction_house", "--port", str(local.port)],
                # Its switches, as whoever starts the run has set them, and what they are here.
                {name: value for name, value in os.environ.items() if name.startswith("AUCTION_")}
                | {
                    "AUCTION_DATABASE_URL": target.database_url or "",
                    "AUCTION_HOUSE_TOKEN": target.service_role_key,
                    "AUCTION_PUBNUB_ORIGIN": target.pubnub_origin,
                    "AUCTION_PUBLISH_KEY": target.pubnub_publish_key,
                    "AUCTION_SUBSCRIBE_KEY": target.pubnub_subscribe_key,
                    "AUCTION_TICK_S": self.ticks_every.removesuffix("s"),
                    "AUCTION_EXTEND_S": "1",
                },
                ready="/healthz",
                folder=Path(__file__).parents[2],
            )
        ]


def _token(token: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}"}


def _bid(lot: str, cents: int) -> str:
    return f"{lot}:{cents}"
