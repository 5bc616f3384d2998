"""`stormwatch export`: all rows, exact, in three formats; nothing half-written."""

import json
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.cli import main
from harness.history import RunFolder, read_history
from harness.history import export as module

SHAPE = Shape(games_at_once=4, seconds=20, http_per_s=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("reports"), synthetic_rows(SHAPE), SHAPE)


def export(run: RunFolder, path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["export", str(run.path), "--output", str(path), *options])


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_every_row_is_there_to_the_nanosecond(
    form: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_ROWS", 1000)  # several
    path = tmp_path / f"rows.{form}"
    done = export(run, path, "--format", form)
    assert done.exit_code == 0, done.output
    table = read_history(run.history).table
    assert f"{len(table)} rows" in done.output
    if form == "jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    elif form == "csv":
        rows = (
            duckdb.sql(f"SELECT * FROM read_csv('{path}', nullstr='', types={{'end': 'VARCHAR'}})")
            .arrow()
            .read_all()
            .to_pylist()
        )
    else:
        rows = pq.read_table(path).to_pylist()
    assert [row["end_ns"] for row in rows] == table["end_ns"].to_pylist()
    first = next(row for row in rows if row["end_ns"])
    assert pd.Timestamp(first["end"]).value == first["end_ns"]
    assert [path.name for path in tmp_path.iterdir()] == [f"rows.{form}"]


def test_some_kinds_alone(run: RunFolder, tmp_path: Path) -> None:
    export(run, tmp_path / "rows.csv", "--kind", "delivery", "--kind", "publish")
    assert set(pd.read_csv(tmp_path / "rows.csv")["kind"]) == {"delivery", "publish"}
    done = export(run, tmp_path / "none.csv", "--kind", "deliveries")
    assert done.exit_code == 2
    assert "--kind deliveries: no rows are called so; there are alert, delivery" in done.output
    assert not (tmp_path / "none.csv").exists()


def test_a_history_that_is_cut_off_is_written_up_to_there_and_that_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "reports", synthetic_rows(SHAPE), SHAPE)
    (path,) = run.history.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:-200])
    done = export(run, tmp_path / "rows.csv")
    assert done.exit_code == 0, done.output
    assert f"{path.name}: " in done.stderr


def test_what_can_not_be_written_leaves_the_old_file(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old", encoding="utf-8")

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.json, "dumps", full)
    done = export(run, path, "--format", "jsonl")
    assert done.exit_code == 4
    assert "No space left" in done.output
    assert path.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", str(tmp_path / "nowhere")])
    assert done.exit_code == 4
    assert "nowhere" in done.output
