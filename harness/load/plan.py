"""What a load will do to a deployment, in the few lines that are told before consent is asked for."""

from __future__ import annotations

import math

from harness.load_options import LoadOptions
from harness.target import Action

#: Calls of one game besides those of its players: made, started.
_GAME_CALLS = 2
#: Calls of one player besides timer reads: joins, submits.
_PLAYER_CALLS = 2
#: Moves of a game, each with an event and a row in the log.
_MOVES = 4


def load_plan(options: LoadOptions) -> list[str]:
    """Return what the load will do, a line each: how many games, calls and rows, for how long, what stays."""
    seconds = options.run_time_s or options.warm_up_s + options.duration_s
    rounds = max(1, math.ceil(seconds / options.game_s))
    games = options.games * rounds
    reads = options.players * options.phases_s / options.sync_s
    calls = _GAME_CALLS + options.players * _PLAYER_CALLS + reads
    rate = options.games * calls / options.game_s + 1 / options.probe_s
    rows = games * (1 + 2 * options.players + 2 * _MOVES)
    return [
        f"{options.games} games at a time, {options.players} players each, for {_minutes(seconds)} and up to "
        f"{options.drain_s:g} s to drain; some {rate:,.0f} requests/s",
        f"some {games:,} games in all: {rows:,} rows with players, submissions, events and transitions",
        f"ticks: one each {options.tick_s:g} s, which moves other people's overdue games too, if "
        f"{Action.TICK.setting} names the address; else its own cron has to tick",
        "afterwards: the run's games are removed; what can't be is counted, and `stormwatch clean` finds it",
    ]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
