"""What a system calls its items and those who take part: reports and errors speak as its team does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

_ITEM: Final = re.compile(r"\bitems?\b")


@dataclass(frozen=True)
class Words:
    """What the system's items, and those who take part in them, are called: one of them, many."""

    item: str = "item"
    items: str = "items"
    player: str = "player"
    players: str = "players"

    @classmethod
    def of(cls, system: Mapping[str, Any] | None) -> Self:
        """Return the words of a run, by what its ``run.json`` says of the system."""
        told = (system or {}).get("words")
        # Runs were of games before systems had words of their own.
        return cls(**told) if isinstance(told, Mapping) else cls("game", "games")

    def spoken(self, text: str) -> str:
        """Return a text about items in these words."""
        return _ITEM.sub(lambda found: str(getattr(self, found[0])), text)


def begin(sentence: str) -> str:
    """Return a sentence with its first letter large."""
    return sentence[:1].upper() + sentence[1:]
