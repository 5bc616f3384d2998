"""The games that suffered most, each with all that happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from harness.documents.shown import Delivery, Game, Move
from harness.judge.evidence import NS, Evidence

#: Games that are shown, and events and deliveries of each.
GAMES: Final = 8
EVENTS: Final = 24
DELIVERIES: Final = 120


def worst_games(evidence: Evidence, broken: Sequence[str]) -> list[Game]:
    """Return the event strips of the worst games; times are ms since the game's first one.

    Parameters
    ----------
    broken : games that broke an integrity rule, which come first; then those that missed events, then
        those that heard of something latest.
    """
    pairs = evidence.pairs
    waited = (pairs["received_ns"] - pairs["committed_ns"]).to_numpy(dtype="float64", na_value=np.inf) / NS
    waited[~pairs["settled"].to_numpy() & np.isinf(waited)] = 0
    ranked = pd.Series(waited).groupby(pairs["game"].to_numpy()).max().nlargest(GAMES)
    chosen: dict[str, str] = dict.fromkeys(broken, "broke an integrity rule")
    for number, longest in ranked.items():
        why = "an event never arrived" if np.isinf(longest) else f"an event took {longest * 1000:.0f} ms"
        game = evidence.label("game", int(str(number)))
        if game is not None:
            chosen.setdefault(game, why)
    return [_strip(evidence, game, why) for game, why in list(chosen.items())[:GAMES]]


def _strip(evidence: Evidence, game: str, why: str) -> Game:
    offset, number = evidence.database_clock.offset_ns, evidence.number("game", game)
    moved = evidence.transitions
    moved = moved[(moved["game"] == number).to_numpy()].sort_values("moved_ns").head(EVENTS)
    pairs = evidence.pairs
    pairs = pairs[(pairs["game"] == number).to_numpy()].sort_values("committed_ns").head(DELIVERIES)
    times = pd.concat([moved["moved_ns"], pairs["committed_ns"].astype("Int64")]).dropna()
    start_ns = int(times.min()) if len(times) else 0

    def ms(value: Any) -> float | None:
        return None if pd.isna(value) else round((int(value) - start_ns) / 1e6, 3)

    return Game(
        game=game,
        why=why,
        start_ms=start_ns // 1_000_000,
        moves=tuple(
            Move(
                move=str(row["name"]).replace("->", " → "),
                due_ms=None if pd.isna(row["intended_ns"]) else ms(row["intended_ns"] - offset),
                moved_ms=ms(row["moved_ns"]),
                committed_ms=ms(row["committed_ns"]),
            )
            for _, row in moved.iterrows()
        ),
        deliveries=tuple(
            Delivery(
                player=str(row["actor"]),
                seq=None if pd.isna(row["seq"]) else int(row["seq"]),
                committed_ms=ms(row["committed_ns"]),
                accepted_ms=ms(row["accepted_ns"]),
                received_ms=ms(row["received_ns"]),
            )
            for _, row in pairs.iterrows()
        ),
    )
