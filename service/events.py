"""Events that callers have broadcast: their types, their shape, the channels they go to."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

#: What can be broadcast.
EventType = Literal[
    "test",
    "phase_changed",
    "timer_expired",
    "timer_sync",
    "game_ready",
    "game_completed",
    "game_cancelled",
    "player_joined",
    "player_left",
    "player_ready",
    "connection_status",
    "drawing_submitted",
    "vote_cast",
    "MATCH_FOUND",
]

#: Types that go to the user's own channel, and to the game's presence channel, too.
FOR_USER: Final = frozenset({"MATCH_FOUND"})
FOR_PRESENCE: Final = frozenset({"player_joined", "player_left", "connection_status"})

#: The id of a game or a user: it becomes part of a channel's name.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]


class Event(BaseModel):
    """The body of ``broadcast-pubnub-event``."""

    model_config = ConfigDict(extra="forbid")

    type: EventType
    gameId: Name
    userId: Name
    timestamp: Annotated[StrictInt, Field(ge=0, le=9_007_199_254_740_991, description="Unix ms")]
    version: Literal["2.0.0"]
    data: dict[str, Any]

    def channels(self) -> dict[str, str]:
        """Return where the event goes: part of the answer -> channel."""
        found = {"gameChannel": f"game-{self.gameId}"}
        if self.type in FOR_USER:
            found["userChannel"] = f"user-{self.userId}"
        if self.type in FOR_PRESENCE:
            found["presenceChannel"] = f"presence-{self.gameId}"
        return found
