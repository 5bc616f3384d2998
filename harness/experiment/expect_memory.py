"""What may be expected of an outage of the players' that is longer than PubNub's memory of a connection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from harness.documents.rows import Finding
from harness.history.names import Publish
from harness.judge import Evidence, Window
from harness.judge.findings import none_of, unseen, within


@dataclass(frozen=True)
class CatchesUp:
    """Players who come back to a flooded channel hear all of the flood that PubNub keeps, in order.

    Of players that listened throughout. PubNub keeps the newest messages that there are when the player
    comes back, on all that its connection listens to together, whoever sent them: the flood's, and the game's
    own events after it. What is older is lost to the player as PubNub says, and something must be, or nothing
    was put to the test.

    Parameters
    ----------
    newest : messages that PubNub keeps of a connection.
    """

    newest: int = 100

    @property
    def name(self) -> str:
        return f"who comes back hears the newest {self.newest} messages of a flooded channel, in order"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        sent = evidence.published(Publish.FLOOD)
        sent = sent.assign(accepted_ns=sent["start_ns"] - evidence.pubnub_clock.offset_ns)
        sent = sent[within(sent["accepted_ns"], fault.start_ns, math.inf)]
        wrong: list[pd.DataFrame] = []
        players = forgotten = 0
        for game, flood in sent.groupby("game"):
            channel = pd.concat([flood, _of(evidence.messages, game)])[["event", "accepted_ns"]]
            channel = channel.drop_duplicates("event").sort_values("accepted_ns")
            first_ns, last_ns = flood["accepted_ns"].min(), flood["accepted_ns"].max()
            listened = _of(evidence.subscriptions, game)
            listened = listened[(listened["from_ns"] < first_ns) & (listened["to_ns"] > last_ns)]
            for player in listened["actor"].unique():
                heard = _of(evidence.receipts, game)
                heard = heard[
                    ((heard["actor"] == player) & (heard["accepted_ns"] >= first_ns)).to_numpy(bool)
                ]
                back_ns = heard["end_ns"].min() if len(heard) else math.inf
                old = channel[(channel["accepted_ns"] <= back_ns).to_numpy(bool)].iloc[: -self.newest]
                unheard = flood[~flood["event"].isin(heard["event"])]
                is_old = unheard["event"].isin(old["event"])
                overtaken = (heard["accepted_ns"] < heard["accepted_ns"].cummax()).to_numpy(bool)
                wrong += [
                    unheard[~is_old].assign(actor=player, error="missed"),
                    heard[overtaken].assign(error="out of order"),
                ]
                forgotten += int(is_old.sum())
                players += 1
        if not players:
            return unseen(self.name, 0.0, "messages", "nobody listened to a channel that was flooded")
        explanation = f"{len(sent)} messages, {players} players, {forgotten} deliveries that PubNub forgot"
        if not forgotten:
            return unseen(self.name, 0.0, "messages", f"PubNub's memory was long enough: {explanation}")
        return none_of(evidence, self.name, pd.concat(wrong), "messages", explanation)


def _of(rows: pd.DataFrame, game: object) -> pd.DataFrame:
    """Return the rows of one game."""
    return rows[(rows["game"] == game).to_numpy(bool)]
