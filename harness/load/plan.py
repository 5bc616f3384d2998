"""What a load will do to a deployment, in the few lines that are told before consent is asked for."""

from __future__ import annotations

import math

from harness.load_options import LoadOptions
from harness.system import Acts, CleansUp, HasTimer, System, Ticks
from harness.target import Action

#: Calls of one item besides those of its players: made, started.
_ITEM_CALLS = 2


def load_plan(options: LoadOptions, system: type[System]) -> list[str]:
    """Return what the load will do, a line each: how many games, calls and rows, for how long, what stays."""
    seconds = options.run_time_s or options.warm_up_s + options.duration_s
    rounds = max(1, math.ceil(seconds / options.game_s))
    games = options.games * rounds
    reads = options.phases_s / options.sync_s if issubclass(system, HasTimer) else 0
    # Each player joins, and does something where players do.
    calls = _ITEM_CALLS + options.players * (1 + issubclass(system, Acts) + reads)
    rate = options.games * calls / options.game_s + 1 / options.probe_s
    moves = games * (1 + len(options.lengths))
    return [
        f"{options.games} games at a time, {options.players} players each, for {_minutes(seconds)} and up to "
        f"{options.drain_s:g} s to drain; some {rate:,.0f} requests/s",
        f"some {games:,} games in all, with {moves:,} moves, each of which is broadcast",
        _ticks(options, system),
        _clean_up(system),
    ]


def _ticks(options: LoadOptions, system: type[System]) -> str:
    if not issubclass(system, Ticks):
        return "ticks: none of ours, it ticks by itself"
    return (
        f"ticks: one each {options.tick_s:g} s, which moves other people's overdue games too, if "
        f"{Action.TICK.setting} names the address; else its own cron has to tick"
    )


def _clean_up(system: type[System]) -> str:
    if issubclass(system, CleansUp) or hasattr(system, "cleaning"):
        return "afterwards: the run's games are removed; what can't be is told, `stormwatch clean` finds it"
    return "afterwards: the run's games stay, its file has neither clean.sql nor clean_up"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
