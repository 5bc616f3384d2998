"""The bench holds what it measures against its limits, and says by its exit code whether they hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_file, write_run
from harness import bench
from harness.bench import Judged, Quantiles

SMALL = Judged(10**6, 2.0, 1.5, 0.5)
LARGE = Judged(10**7, 18.0, 16.0, 3.5)
GOOD: dict[str, Any] = {
    "writing_us": 2.5,
    "judging": [SMALL, LARGE],
    "quantiles": (Quantiles(0.5, 0.5), Quantiles(0.5, 0.1)),
}


def measure(monkeypatch: pytest.MonkeyPatch, *arguments: str, **figures: Any) -> int:
    """Run the bench with ``figures`` in place of what it would measure, and return its exit code."""
    found = GOOD | figures
    judged = iter(found["judging"])
    monkeypatch.setattr(bench, "writing_us", lambda per_flush: found["writing_us"])
    monkeypatch.setattr(bench, "judging", lambda folder, millions: next(judged))
    monkeypatch.setattr(bench, "quantiles", lambda folder: found["quantiles"])
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    return int(ended.value.code or 0)


def test_within_its_limits_it_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(monkeypatch) == 0
    told = capsys.readouterr()
    assert "18.00 s (16.00 s of CPU) (limit 20)" in told.out
    assert "x 5.0 without the reading" in told.out
    assert "0.25 % of a core (limit 2)" in told.out
    assert told.err == ""


@pytest.mark.parametrize(
    ("figures", "named"),
    [
        ({"writing_us": 6.0}, "append and flush: 6.00 us a row is beyond 5"),
        ({"writing_us": 21.0}, "2.10 % of a core is beyond 2"),
        # Little CPU is no excuse for a long wait.
        ({"judging": [SMALL, Judged(10**7, 21.0, 10.0, 3.5)]}, "21.00 s (10.00 s of CPU) is beyond 20"),
        ({"judging": [SMALL, Judged(10**7, 19.0, 15.0, 4.5)]}, "4.50 GB is beyond 4"),
        ({"judging": [Judged(10**6, 1.0, 0.5, 0.5), LARGE]}, "to the power of: 1.51"),
        ({"quantiles": (Quantiles(0.1, 0.9), Quantiles(0.1, 0.05))}, "x DuckDB's time is beyond 5"),
    ],
)  # fmt: skip
def test_beyond_a_limit_it_fails_and_names_it(
    figures: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(monkeypatch, **figures) == 1
    assert named in capsys.readouterr().err


def test_of_a_real_run_the_busiest_writer_counts(tmp_path: Path) -> None:
    shape = Shape(games_at_once=5, seconds=20, http_per_s=50)
    rows = synthetic_rows(shape)
    run = write_run(tmp_path, rows[rows["kind"] != "http"], shape)
    write_file(run.history / "load-1.arrow", rows[rows["kind"] == "http"], run.id, "load")
    writer, rows_per_s = bench.busiest_writer(run.path)
    assert (writer, rows_per_s) == ("load", pytest.approx(50, rel=0.1))
