"""Makes the history of a run that never was: for tests, which then spoil it, and for the bench.

Every row is shaped as the harness writes it. The service of these runs is a good one: ticks each
second move what is due, events take some 40 ms to be heard, nothing fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from harness.history import SCHEMA, History, HistoryFile, RunFolder, create_run
from harness.history.schema import META_RUN, META_VERSION, META_WRITER, SCHEMA_VERSION

NS = 1_000_000_000
START = 1_790_000_000 * NS
STATES = ("waiting", "briefing", "drawing", "voting", "completed")

COLUMNS = tuple(SCHEMA.names)


@dataclass(frozen=True)
class Shape:
    """How large a synthetic run is."""

    games_at_once: int = 40
    players: int = 4
    seconds: int = 60
    warm_up: int = 5
    phases_s: tuple[float, float, float] = (3.0, 4.0, 3.0)
    tick_s: float = 1.0
    http_per_s: int = 120
    seed: int = 7


def synthetic_rows(shape: Shape = Shape()) -> pd.DataFrame:
    """Return the rows of a run, in no particular order."""
    random = np.random.default_rng(shape.seed)
    seconds = shape.warm_up + shape.seconds
    parts = [
        _ticks(shape, seconds, random),
        _http(shape, seconds, random),
        _health(seconds, random),
        _resources(seconds, random),
    ]
    parts += _games(shape, seconds, random)
    return pd.concat([_frame(part) for part in parts], ignore_index=True)[list(COLUMNS)]


def windows(shape: Shape = Shape()) -> list[dict[str, Any]]:
    """Return the windows that run.json declares for such a run."""
    steady = START + shape.warm_up * NS
    end = START + (shape.warm_up + shape.seconds) * NS
    return [
        {"name": "warm-up", "start_ns": START, "end_ns": steady},
        {"name": "steady", "start_ns": steady, "end_ns": end},
        {"name": "drain", "start_ns": end, "end_ns": end + 30 * NS},
    ]


def write_run(
    reports: Path,
    rows: pd.DataFrame,
    shape: Shape = Shape(),
    *,
    files: int = 1,
    **about: Any,
) -> RunFolder:
    """Write ``rows`` as a run folder under ``reports``; ``about`` replaces fields of run.json."""
    run = create_run(reports, "synthetic", **about_run(shape, **about))
    for number in range(files):
        write_file(
            run.history / f"synthetic-{number}.arrow", rows.iloc[number::files], run.id, f"synthetic-{number}"
        )
    return run


def write_file(
    path: Path, rows: pd.DataFrame, run_id: str, writer: str, *, version: int = SCHEMA_VERSION
) -> None:
    """Write one history file, whole and closed."""
    schema = SCHEMA.with_metadata({META_VERSION: str(version), META_RUN: run_id, META_WRITER: writer})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
        for start in range(0, max(len(rows), 1), 100_000):
            table = pa.Table.from_pandas(
                _plain(rows.iloc[start : start + 100_000]), schema=SCHEMA, preserve_index=False
            )
            for batch in table.combine_chunks().to_batches():
                stream.write_batch(pa.record_batch(batch.columns, schema=schema))


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    plain = rows.copy(deep=False)
    for name in ("kind", "name", "actor"):
        plain[name] = plain[name].astype("category")
    return plain


def _frame(columns: dict[str, Any]) -> pd.DataFrame:
    length = max(len(c) for c in columns.values() if not isinstance(c, str | bool | type(None)))
    types = {
        "kind": "string",
        "name": "string",
        "actor": "string",
        "game": "string",
        "event": "string",
        "seq": "Int64",
        "intended_ns": "Int64",
        "start_ns": "Int64",
        "end_ns": "Int64",
        "ok": "boolean",
        "error": "string",
        "value": "float64",
    }
    return pd.DataFrame(
        {name: pd.Series(columns.get(name), index=range(length), dtype=kind) for name, kind in types.items()}
    )


def _ms(random: np.random.Generator, median: float, size: int, sigma: float = 0.4) -> Any:
    return (random.lognormal(np.log(median * 1e6), sigma, size)).astype(np.int64)


def _ticks(shape: Shape, seconds: int, random: np.random.Generator) -> dict[str, Any]:
    count = int((seconds + 20) / shape.tick_s)
    intended = START + (np.arange(count) * shape.tick_s * NS).astype(np.int64)
    start = intended + _ms(random, 1.0, count)
    return {
        "kind": "monitor",
        "name": "tick",
        "actor": "cron",
        "intended_ns": intended,
        "start_ns": start,
        "end_ns": start + _ms(random, 30.0, count),
        "ok": True,
        "value": np.full(count, 10.0),
    }


def _http(shape: Shape, seconds: int, random: np.random.Generator) -> dict[str, Any]:
    count = shape.http_per_s * seconds
    start = START + np.sort(random.integers(0, seconds * NS, count))
    return {
        "kind": "http",
        "name": "POST /functions/v1/get-game-timer",
        "actor": pd.Series(np.char.add("player-", random.integers(0, 100, count).astype(str))),
        "start_ns": start,
        "end_ns": start + _ms(random, 4.0, count),
        "ok": True,
        "value": np.full(count, 200.0),
    }


def _health(seconds: int, random: np.random.Generator) -> dict[str, Any]:
    intended = START + np.arange(seconds) * NS
    start = intended + _ms(random, 0.5, seconds)
    return {
        "kind": "health",
        "name": "health",
        "actor": "prober",
        "intended_ns": intended,
        "start_ns": start,
        "end_ns": start + _ms(random, 3.0, seconds),
        "ok": True,
    }


def _resources(seconds: int, random: np.random.Generator) -> dict[str, Any]:
    readings = (
        ("load", "cpu_percent", 25.0),
        ("observer-1", "cpu_percent", 30.0),
        ("service-1", "cpu_percent", 60.0),
        ("load", "loop_lag_ms", 2.0),
        ("observer-1", "loop_lag_ms", 3.0),
        ("service-1", "outbox_depth", 4.0),
        ("service-1", "pool_in_use", 3.0),
        ("service-1", "breaker_state", 0.0),
        ("load", "wall_minus_monotonic_ms", 5e9),
        ("database", "clock_offset_ms", 0.0),
        ("database", "clock_error_bound_ms", 0.4),
        ("pubnub", "clock_offset_ms", 0.0),
        ("pubnub", "clock_error_bound_ms", 0.3),
    )
    at = START + np.arange(seconds) * NS
    exact = {"breaker_state", "clock_offset_ms", "clock_error_bound_ms", "wall_minus_monotonic_ms"}
    values = [
        np.full(seconds, mean) if name in exact else np.abs(random.normal(mean, mean / 5, seconds))
        for _, name, mean in readings
    ]
    return {
        "kind": "resource",
        "name": pd.Series(np.repeat([r[1] for r in readings], seconds)),
        "actor": pd.Series(np.repeat([r[0] for r in readings], seconds)),
        "start_ns": np.tile(at, len(readings)),
        "value": np.concatenate(values),
    }


def _games(shape: Shape, seconds: int, random: np.random.Generator) -> list[dict[str, Any]]:
    whole = sum(shape.phases_s) + 3.0
    rounds = max(int(seconds / whole), 1)
    count = shape.games_at_once * rounds
    opened = START + (
        np.repeat(np.arange(rounds), shape.games_at_once) * whole * NS + random.uniform(0, whole * NS, count)
    ).astype(np.int64)
    games = pd.Series([f"game-{n}" for n in range(count)])
    # The manual start, then three phases; each moves at the first tick after its expiry.
    moved = [opened + 200_000_000]
    due: list[Any] = [None]
    for length in shape.phases_s:
        expiry = moved[-1] + int(length * NS)
        tick = START + np.ceil((expiry - START) / (shape.tick_s * NS)).astype(np.int64) * int(
            shape.tick_s * NS
        )
        due.append(expiry)
        moved.append(tick + _ms(random, 12.0, count, 0.1))
    parts: list[dict[str, Any]] = []
    for step in range(4):
        name = f"{STATES[step]}->{STATES[step + 1]}"
        event = games + f"-event-{step + 1}"
        seq = np.full(count, step + 1)
        commit = moved[step] + _ms(random, 4.0, count, 0.1)
        parts.append(
            {
                "kind": "transition",
                "name": name,
                "actor": "database",
                "game": games,
                "event": event,
                "seq": seq,
                "intended_ns": due[step],
                "start_ns": moved[step],
                "end_ns": commit,
                "ok": True,
            }
        )
        took = random.lognormal(np.log(0.2), 0.5, count)
        parts.append(
            {
                "kind": "trigger",
                "name": "game_status_change_trigger",
                "actor": "database",
                "game": games,
                "event": event,
                "seq": seq,
                "start_ns": moved[step],
                "end_ns": moved[step] + (took * 1e6).astype(np.int64),
                "ok": True,
                "value": took,
            }
        )
        attempted = commit + _ms(random, 15.0, count)
        accepted = attempted + _ms(random, 3.0, count)
        parts.append(
            {
                "kind": "publish",
                "name": "outbox",
                "actor": "database",
                "game": games,
                "event": event,
                "seq": seq,
                "intended_ns": moved[step],
                "start_ns": attempted,
                "end_ns": accepted + 500_000,
                "ok": True,
                "value": np.ones(count),
            }
        )
        parts.extend(
            {
                "kind": "delivery",
                "name": "phase_changed",
                "actor": f"player-{player}",
                "game": games,
                "event": event,
                "seq": seq,
                "start_ns": accepted,
                "end_ns": accepted + _ms(random, 12.0, count),
                "ok": True,
            }
            for player in range(shape.players)
        )
    for player in range(shape.players):
        actor = f"player-{player}"
        parts.append(
            {
                "kind": "delivery",
                "name": "subscribe",
                "actor": actor,
                "game": games,
                "start_ns": opened,
                "end_ns": opened + 20_000_000,
                "ok": True,
            }
        )
        left = moved[3] + 2 * NS
        parts.append(
            {
                "kind": "delivery",
                "name": "unsubscribe",
                "actor": actor,
                "game": games,
                "start_ns": left,
                "end_ns": left,
                "ok": True,
            }
        )
    # The observer lives on through the drain.
    parts.append(
        {
            "kind": "resource",
            "name": "users",
            "actor": "observer-1",
            "start_ns": [START + (seconds + 30) * NS],
            "value": [0.0],
        }
    )
    return parts


def history_of(rows: pd.DataFrame, *, cut_off: str | None = None) -> History:
    """Return ``rows`` as a history that was read, without the way over files."""
    table = pa.Table.from_pandas(_plain(rows), schema=SCHEMA, preserve_index=False)
    file = HistoryFile(Path("synthetic-1.arrow"), "synthetic", "run", table.num_rows, cut_off)
    return History(table.unify_dictionaries(), [file])


def about_run(shape: Shape = Shape(), **fields: Any) -> dict[str, Any]:
    """Return what run.json says of such a run, with ``fields`` replaced."""
    options = {"tick_s": shape.tick_s, "games": shape.games_at_once, "players": shape.players}
    return {
        "options": options,
        "seed": shape.seed,
        "profile": "quick",
        "target": {"service_url": "http://127.0.0.1:8000", "origin": "embedded"},
        "command": "stormwatch run --seed 7",
        "interrupted": False,
        "missing": [],
        "windows": windows(shape),
    } | fields
