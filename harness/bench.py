"""How fast the record is written and judged: ``python -m harness.bench [MILLIONS] [--run RUN]``.

Prints ratios of things measured side by side, for absolute figures depend on the machine. Exits with 1 if
something is beyond its limit, and names it.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Rows appended and flushed when the writer is measured.
_WRITTEN: Final = 200_000
#: So many come between two flushes, which are a second apart.
_PER_FLUSH: Final = 1000
#: By reckoning, the default run's 200 games of 13 s make some 400 rows a second in the process that plays and
#: in that which hears, fewer elsewhere. `--run` takes the figure of a real one.
_MOST_PER_S: Final = 1000.0

#: What a row may cost its writer, and all rows of the default run the busiest of its writers.
_ROW_US: Final = 5.0
_WRITER_PERCENT: Final = 2.0
#: What a report of ten million rows may cost its reader.
_REPORT_S: Final = 20.0
_REPORT_GB: Final = 4.0
#: Growth of that cost with the number of rows. Sorting alone has 1.07 from one million to ten.
_POWER: Final = 1.15
_TIMES_DUCKDB: Final = 5.0


@dataclass
class Limits:
    """Prints figures with their limits and remembers those that are beyond."""

    beyond: list[str] = field(default_factory=list)

    def hold(self, what: str, value: float, limit: float, unit: str) -> None:
        """Print ``value``; at or under ``limit`` all is well."""
        print(f"{what}: {value:.2f} {unit} (limit {limit:g})", flush=True)
        if not value <= limit:
            self.beyond.append(f"{what}: {value:.2f} {unit} is beyond {limit:g}")


def main() -> None:
    """Measure writing, judging at two sizes, and the same quantiles by DuckDB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("millions", nargs="?", type=float, default=10.0, help="rows of the larger history")
    parser.add_argument("--run", type=Path, help="a default run, for the rows a second of its writers")
    given = parser.parse_args()
    limits = Limits()

    limits.hold("history: append and flush", writing_us(_PER_FLUSH), _ROW_US, "us a row")
    writer, rows_per_s = (
        ("more than any writer", _MOST_PER_S) if given.run is None else busiest_writer(given.run)
    )
    percent = rows_per_s * writing_us(max(round(rows_per_s), 1)) / 1e4
    what = f"history: {rows_per_s:.0f} rows a second ({writer} of the default run)"
    limits.hold(what, percent, _WRITER_PERCENT, "% of a core")

    with tempfile.TemporaryDirectory(prefix="stormwatch-bench-") as folder:
        small = judging(Path(folder), given.millions / 10)
        large = judging(Path(folder), given.millions)
        what = f"report: {large.rows / 1e6:.1f} million rows"
        limits.hold(what, large.wall_s, _REPORT_S, f"s ({large.cpu_s:.2f} s of CPU)")
        limits.hold(what, large.peak_gb, _REPORT_GB, "GB")
        power = math.log(large.cpu_s / small.cpu_s) / math.log(large.rows / small.rows)
        limits.hold("report: cost grows with rows to the power of", power, _POWER, "(linear: 1)")
        ours, theirs = quantiles(Path(folder) / "large")
        print(
            f"quantiles: {ours.read_s:.2f} s to read and {ours.compute_s:.2f} s to compute, DuckDB "
            f"{theirs.read_s:.2f} s and {theirs.compute_s:.2f} s: x {ours.compute_s / theirs.compute_s:.1f} "
            "without the reading"
        )
        limits.hold(
            "quantiles: from the files", ours.whole_s / theirs.whole_s, _TIMES_DUCKDB, "x DuckDB's time"
        )
    for line in limits.beyond:
        print(f"BEYOND ITS LIMIT: {line}", file=sys.stderr)
    sys.exit(bool(limits.beyond))


def writing_us(per_flush: int) -> float:
    """Return the CPU time in microseconds that making, appending and flushing a row takes.

    Parameters
    ----------
    per_flush : rows from flush to flush; the fewer, the more of a flush each has to bear.
    """
    from harness.history import HistoryWriter, Row

    events = [f"0f8fad5b-d9cb-469f-a165-{number:012x}" for number in range(1000)]
    with tempfile.TemporaryDirectory() as folder:
        writer = HistoryWriter(Path(folder), "bench", "bench", flush_interval_s=3600)
        started = time.process_time()
        for number in range(_WRITTEN):
            at_ns = 1_790_000_000_000_000_000 + number
            writer.append(
                Row(
                    "delivery", "phase_changed", "player-7", game="game-1", event=events[number % 1000],
                    seq=number % 6, start_ns=at_ns, end_ns=at_ns + 1000, ok=True,
                )
            )  # fmt: skip
            if number % per_flush == 0:
                writer.flush()
        writer.flush()
        taken = time.process_time() - started
        writer.close()
    return taken / _WRITTEN * 1e6


def busiest_writer(folder: Path) -> tuple[str, float]:
    """Return who wrote most rows a second in the steady state of a run, and how many."""
    import numpy as np
    import pyarrow.compute as pc

    from harness.history import open_run, read_history

    run = open_run(folder)
    steady = [window for window in run.read().get("windows") or [] if window["name"] == "steady"]
    if not steady:
        sys.exit(f"{folder}: declares no steady window; name a run of `stormwatch run`")
    start_ns, end_ns = steady[0]["start_ns"], steady[0]["end_ns"]
    history = read_history(run.history)
    at_ns = pc.coalesce(history.table["end_ns"], history.table["start_ns"])
    inside = pc.and_(pc.greater_equal(at_ns, start_ns), pc.less(at_ns, end_ns)).fill_null(False).to_numpy()
    writers = np.repeat([file.writer for file in history.files], [file.rows for file in history.files])
    names, counts = np.unique(writers[inside], return_counts=True)
    most = int(np.argmax(counts))
    return str(names[most]), float(counts[most] / (end_ns - start_ns) * 1e9)


@dataclass(frozen=True)
class Judged:
    """What reporting on a history took."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_gb: float


def judging(folder: Path, millions: float) -> Judged:
    """Write a history and report on it, each in a process of its own."""
    name = "large" if (folder / "small").exists() else "small"
    target = str(folder / name)
    rows = _run(f"from harness.bench import prepare; prepare({target!r}, {millions!r})")
    figures = _run(f"from harness.bench import report; report({target!r})").split()
    return Judged(int(rows), *map(float, figures))


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ).stdout


def prepare(folder: str, millions: float) -> None:
    """Write a synthetic history (three of ten rows are deliveries) and print how many rows it has."""
    from fixtures.synthetic_run import Shape, synthetic_rows, write_run

    shape = Shape(games_at_once=max(round(200 * millions), 1), seconds=1216, http_per_s=round(270 * millions))
    rows = synthetic_rows(shape)
    write_run(Path(folder), rows, shape, files=4).point_latest_here()
    print(len(rows))


def report(folder: str) -> None:
    """Write the reports of a run and print seconds, CPU seconds and the peak of memory in GB."""
    started = time.perf_counter()
    from harness.history import open_run
    from harness.report import write_reports
    from harness.sla.policy import load_policy

    write_reports(open_run(Path(folder) / "latest"), load_policy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    print(time.perf_counter() - started, time.process_time(), peak)


@dataclass(frozen=True)
class Quantiles:
    """Seconds that quantiles took: to read the files, and to compute."""

    read_s: float
    compute_s: float

    @property
    def whole_s(self) -> float:
        """Both together."""
        return self.read_s + self.compute_s


def quantiles(folder: Path) -> tuple[Quantiles, Quantiles]:
    """Return what p50, p95 and p99 of all deliveries take: by us and by DuckDB.

    Both get the files through our reader, for DuckDB has none of Arrow streams; the computing alone is
    therefore told apart.
    """
    import duckdb
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from harness.history import open_run, read_history
    from harness.sla.statistics import quantile

    run = open_run(folder / "latest")
    started = time.perf_counter()
    table = read_history(run.history).table
    read = time.perf_counter()
    chosen = table.filter(pc.equal(table["kind"].cast(pa.string()), "delivery"))
    took = pc.drop_null(pc.subtract(chosen["end_ns"], chosen["start_ns"])).to_numpy().astype(np.float64)
    ordered = np.sort(took)
    for q in (0.5, 0.95, 0.99):
        quantile(ordered, q)
    ours = Quantiles(read - started, time.perf_counter() - read)
    del table, chosen, took, ordered

    started = time.perf_counter()
    history = read_history(run.history).table  # found by its name in the query
    read = time.perf_counter()
    duckdb.execute(
        "SELECT quantile_disc(end_ns - start_ns, [0.5, 0.95, 0.99]) FROM history WHERE kind = 'delivery'"
    ).fetchall()
    del history
    return ours, Quantiles(read - started, time.perf_counter() - read)


if __name__ == "__main__":
    main()
