"""How a player of a system listens, as the system's file says."""

from __future__ import annotations

from collections.abc import Mapping

from harness.system.base import System
from harness.system.find import step_of
from harness.system.listeners import Listener, PubNub
from harness.system.optional import (
    HasListener,
    OnPubNub,
)


def listener_of(system: System, item: str, player: str, headers: Mapping[str, str]) -> Listener:
    """Return how ``player`` listens to ``item``; ``headers`` are those of its calls.

    Raises
    ------
    SystemFileError
        The system's file does not say.
    """
    if isinstance(system, HasListener):
        with step_of(system, "listener"):
            listener = system.listener(item, player, headers)
            if not isinstance(listener, Listener):
                raise TypeError(f"it returned {listener!r}, which is no Listener")
            return listener
    assert isinstance(system, OnPubNub), "every system that is found has one of them"
    with step_of(system, "channel"):
        channel = system.channel(item, player)
        if not (isinstance(channel, str) and channel):
            raise TypeError(f"it returned {channel!r}, which is no channel's name")
        return PubNub(system.target, channel, f"{item}-{player}")
