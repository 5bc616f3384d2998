"""How fast the record is written and judged: ``python -m harness.bench [MILLIONS]``.

Prints ratios of things measured side by side, for absolute figures depend on the machine.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

#: Rows appended and flushed when the writer is measured.
_WRITTEN: Final = 200_000

#: What a row may cost its writer, and a report of ten million rows its reader.
_ROW_US: Final = 5.0
_REPORT_S: Final = 20.0
_REPORT_GB: Final = 4.0


def main() -> None:
    """Measure writing, judging at two sizes, and the same quantiles by DuckDB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("millions", nargs="?", type=float, default=10.0, help="rows of the larger history")
    millions: float = parser.parse_args().millions
    print(f"history: append and flush {writing_us():.2f} us a row (limit {_ROW_US:g})")
    with tempfile.TemporaryDirectory(prefix="stormwatch-bench-") as folder:
        small = judging(Path(folder), millions / 10)
        large = judging(Path(folder), millions)
        print(
            f"report: {large[0] / 1e6:.1f} million rows in {large[1]:.1f} s CPU and {large[2]:.2f} GB "
            f"(limits for 10 million: {_REPORT_S:g} s, {_REPORT_GB:g} GB)"
        )
        power = math.log(large[1] / small[1]) / math.log(large[0] / small[0])
        print(f"report: cost grows with rows to the power of {power:.2f} (linear: 1)")
        ours, theirs = quantiles(Path(folder) / "large")
        ratio = f"x {ours / theirs:.1f} (limit 5)"
        print(f"quantiles: {ours:.2f} s, DuckDB {theirs:.2f} s over the same files: {ratio}")


def writing_us() -> float:
    """Return the CPU time in microseconds that making, appending and flushing a row takes."""
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
            if number % 1000 == 0:  # as many as an observer of the default run hears in a second
                writer.flush()
        writer.flush()
        taken = time.process_time() - started
        writer.close()
    return taken / _WRITTEN * 1e6


def judging(folder: Path, millions: float) -> tuple[int, float, float]:
    """Write a history and report on it, each in a process of its own; return rows, CPU s, peak GB."""
    name = "large" if (folder / "small").exists() else "small"
    target = str(folder / name)
    rows = _run(f"from harness.bench import prepare; prepare({target!r}, {millions!r})")
    cpu_s, peak_gb = _run(f"from harness.bench import report; report({target!r})").split()
    return int(rows), float(cpu_s), float(peak_gb)


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout


def prepare(folder: str, millions: float) -> None:
    """Write a synthetic history (three of ten rows are deliveries) and print how many rows it has."""
    from harness.tests.synthetic_run import Shape, synthetic_rows, write_run

    shape = Shape(games_at_once=max(round(200 * millions), 1), seconds=1216, http_per_s=round(270 * millions))
    rows = synthetic_rows(shape)
    write_run(Path(folder), rows, shape, files=4).point_latest_here()
    print(len(rows))


def report(folder: str) -> None:
    """Write the reports of a run and print CPU seconds and the peak of memory in GB."""
    from harness.history import open_run
    from harness.report import write_reports
    from harness.sla.policy import load_policy

    write_reports(open_run(Path(folder) / "latest"), load_policy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    print(time.process_time(), peak)


def quantiles(folder: Path) -> tuple[float, float]:
    """Return seconds for p50, p95 and p99 of all deliveries, from the files: ours and DuckDB's."""
    import duckdb
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from harness.history import open_run, read_history
    from harness.sla.statistics import quantile

    run = open_run(folder / "latest")
    started = time.perf_counter()
    table = read_history(run.history).table
    chosen = table.filter(pc.equal(table["kind"].cast(pa.string()), "delivery"))
    took = pc.drop_null(pc.subtract(chosen["end_ns"], chosen["start_ns"])).to_numpy().astype(np.float64)
    ordered = np.sort(took)
    for q in (0.5, 0.95, 0.99):
        quantile(ordered, q)
    ours = time.perf_counter() - started

    started = time.perf_counter()
    history = read_history(run.history).table  # DuckDB has no reader of Arrow streams of its own
    duckdb.execute(
        "SELECT quantile_disc(end_ns - start_ns, [0.5, 0.95, 0.99]) FROM history WHERE kind = 'delivery'"
    ).fetchall()
    del history
    return ours, time.perf_counter() - started


if __name__ == "__main__":
    main()
