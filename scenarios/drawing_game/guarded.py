"""The calls of the drawing game that need the service role key."""

from __future__ import annotations

from typing import Any

from harness.system import Call
from harness.target import Target

#: Method, path and body.
_Call = tuple[str, str, Any]


def guarded_calls(target: Target, mark: str) -> list[Call]:
    """Return a call of each function and table with its key; ids of what it makes begin with ``mark``."""
    bearer, both = target.authorization, target.keys
    functions = [Call(method, path, bearer, body) for method, path, body in _functions(mark)]
    return [broadcast_of(target, mark), *functions] + [
        Call(method, path, both, body) for method, path, body in _rest(mark)
    ]


def broadcast_of(target: Target, game: str) -> Call:
    """Return the call that sends the players of a game an event without a meaning."""
    event = {"type": "test", "gameId": game, "userId": game, "timestamp": 1, "version": "2.0.0", "data": {}}
    return Call("POST", "/functions/v1/broadcast-pubnub-event", target.authorization, event)


def _functions(mark: str) -> list[_Call]:
    return [
        ("POST", "/functions/v1/get-game-timer", {"gameId": mark}),
        ("POST", "/functions/v1/replay-dead-letters", {"gameId": mark}),
        ("GET", "/functions/v1/dead-letters", None),
        ("GET", "/functions/v1/feature-flags", None),
        ("GET", "/metrics", None),
        ("GET", "/alerts", None),
    ]


def _rest(mark: str) -> list[_Call]:
    return [
        ("POST", "/rest/v1/games", {"id": mark, "prompt": "Let me in"}),
        ("POST", "/rest/v1/game_participants", {"game_id": mark, "user_id": mark}),
        ("POST", "/rest/v1/submissions", {"game_id": mark, "user_id": mark, "content": {}}),
        ("POST", "/rest/v1/rpc/transition_game_status", {"p_game_id": mark, "p_new_status": "briefing"}),
        ("POST", "/rest/v1/rpc/find_expired_games", {}),
        ("GET", f"/rest/v1/games?id=eq.{mark}", None),
        ("PATCH", f"/rest/v1/games?id=eq.{mark}", {"prompt": "Let me in"}),
        ("DELETE", f"/rest/v1/games?id=eq.{mark}-none", None),
    ]
