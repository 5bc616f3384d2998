"""What a load will do to a deployment, in the few lines that are told before consent is asked for."""

from __future__ import annotations

import math

from harness.load_options import LoadOptions
from harness.system import Acts, CleansUp, HasTimer, System, Ticks, WatchWitness
from harness.target import Action

#: Calls of one item besides those of its players: made, started.
_ITEM_CALLS = 2


def load_plan(options: LoadOptions, system: type[System]) -> list[str]:
    """Return what the load will do, a line each: how many items and calls, for how long, what stays."""
    seconds = options.run_time_s or options.warm_up_s + options.duration_s
    rounds = max(1, math.ceil(seconds / options.game_s))
    games = options.games * rounds
    reads = options.phases_s / options.sync_s if issubclass(system, HasTimer) else 0
    # Each player joins, and does something where players do.
    calls = _ITEM_CALLS + options.players * (1 + issubclass(system, Acts) + reads)
    rate = options.games * calls / options.game_s + 1 / options.probe_s
    moves = games * (1 + len(options.lengths))
    words = system.words
    return [
        f"{options.games} {words.items} at a time, {options.players} {words.players} each, for "
        f"{_minutes(seconds)} and up to {options.drain_s:g} s to drain; some {rate:,.0f} requests/s",
        f"some {games:,} {words.items} in all, with {moves:,} moves, each of which is broadcast",
        _ticks(options, system),
        *_watch(system),
        _clean_up(system),
    ]


def _ticks(options: LoadOptions, system: type[System]) -> str:
    if not issubclass(system, Ticks):
        return "ticks: none of ours, it ticks by itself"
    return (
        f"ticks: one each {options.tick_s:g} s, which moves other people's overdue {system.words.items} too, "
        f"if {Action.TICK.setting} names the address; else its own cron has to tick"
    )


def _watch(system: type[System]) -> list[str]:
    witness = system.witness
    if not isinstance(witness, WatchWitness):
        return []
    return [
        f"a watch on the table {witness.table}, which notes the moves of the run's {system.words.items} and "
        f"is taken away at the end, if {Action.WATCH.setting} names the address; else it is read each "
        f"{witness.every}"
    ]


def _clean_up(system: type[System]) -> str:
    items = system.words.items
    if issubclass(system, CleansUp) or hasattr(system, "cleaning"):
        return (
            f"afterwards: the run's {items} are removed; what can't be is told, `stormwatch clean` finds it"
        )
    return f"afterwards: the run's {items} stay, its file has neither clean.sql nor clean_up"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
