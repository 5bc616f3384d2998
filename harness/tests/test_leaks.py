"""After a fault everything is given back: a service that does passes, one that keeps something is caught."""

from pathlib import Path

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, synthetic_rows, write_run
from harness.documents.rows import Finding
from harness.experiment.leaks import back_to_level
from harness.history import read_history
from harness.judge import Window, evidence_of
from harness.judge.findings import judge_all
from harness.sla.policy import load_policy

FAULT = Window("network:down service-postgres", START + 20 * NS, START + 30 * NS)
SHAPE = Shape(games_at_once=4, players=1, seconds=40, http_per_s=5)
#: Reading, actor, its level before; at its worst meanwhile; what is well afterwards, and what is not.
LEVELS = {
    ("service_sessions", "database"): (12, 80, 42, 43),
    ("pool_in_use", "service-1"): (2, 20, 5, 6),
    ("rss_bytes", "service-1"): (80e6, 400e6, 133e6, 135e6),
    ("rss_bytes", "service-2"): (80e6, 400e6, 133e6, 135e6),
    ("open_files", "service-1"): (40, 900, 160, 161),
    ("open_files", "service-2"): (40, 900, 160, 161),
}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rows = synthetic_rows(SHAPE)
    return rows[rows["name"] != "pool_in_use"]


def with_levels(rows: pd.DataFrame, **after: float) -> pd.DataFrame:
    """Readings each second; ``after`` replaces what a reading of all actors is at the end."""
    first = rows[rows["kind"] == "resource"].head(1)
    readings = []
    for (name, actor), (before, worst, well, _) in LEVELS.items():
        for second in range(40):
            at_ns = START + second * NS
            value = before if at_ns < FAULT.start_ns else worst if at_ns < FAULT.end_ns + 3 * NS else None
            if value is None:
                value = after.get(name, well)
            readings.append(first.assign(name=name, actor=actor, start_ns=at_ns, value=float(value)))
    return pd.concat([rows, *readings], ignore_index=True)


def judge(folder: Path, rows: pd.DataFrame) -> list[Finding]:
    run = write_run(folder, rows, SHAPE)
    evidence = evidence_of(read_history(run.history), run.read(), load_policy())
    return judge_all(evidence, FAULT, back_to_level(["service-1", "service-2"], sessions=21))


def test_all_that_is_given_back_passes(tmp_path: Path, rows: pd.DataFrame) -> None:
    findings = judge(tmp_path, with_levels(rows))
    assert [finding.verdict for finding in findings] == ["pass"] * len(LEVELS)


@pytest.mark.parametrize("name", sorted({name for name, _ in LEVELS}))
def test_what_is_kept_is_caught(tmp_path: Path, rows: pd.DataFrame, name: str) -> None:
    kept = next(levels[3] for (reading, _), levels in LEVELS.items() if reading == name)
    findings = judge(tmp_path, with_levels(rows, **{name: kept}))
    caught = {finding.name for finding in findings if finding.verdict == "fail"}
    assert len(caught) == sum(reading == name for reading, _ in LEVELS)
    words = "sessions at the database" if name == "service_sessions" else name
    assert all(words in finding for finding in caught)


def test_one_busy_moment_at_the_end_is_no_leak(tmp_path: Path, rows: pd.DataFrame) -> None:
    rows = with_levels(rows)
    last = (rows["start_ns"] == START + 39 * NS) & (rows["name"] == "pool_in_use")
    rows.loc[last, "value"] = 20.0
    assert {finding.verdict for finding in judge(tmp_path, rows)} == {"pass"}


def test_what_was_not_read_proves_nothing(tmp_path: Path, rows: pd.DataFrame) -> None:
    rows = with_levels(rows)
    rows = rows[~((rows["kind"] == "resource") & (rows["start_ns"] >= FAULT.end_ns))]
    assert {finding.verdict for finding in judge(tmp_path, rows)} == {"inconclusive"}


def test_connections_that_clients_keep_open_are_not_the_services(tmp_path: Path, rows: pd.DataFrame) -> None:
    rows = with_levels(rows, open_files=360)
    kept = rows[(rows["name"] == "open_files") & (rows["start_ns"] >= FAULT.start_ns)]
    clients = kept.assign(name="http_connections", value=200.0, start_ns=kept["start_ns"] + NS // 2)
    idle = rows[(rows["name"] == "open_files") & (rows["start_ns"] < FAULT.start_ns)]
    none = idle.assign(name="http_connections", value=0.0)
    assert {finding.verdict for finding in judge(tmp_path / "a", pd.concat([rows, none, clients]))} == {
        "pass"
    }
    fewer = clients.assign(value=199.0)
    findings = judge(tmp_path / "b", pd.concat([rows, none, fewer]))
    assert ["open_files" in finding.name for finding in findings if finding.verdict == "fail"] == [True, True]


def test_the_level_before_is_that_of_the_last_moments(tmp_path: Path, rows: pd.DataFrame) -> None:
    # Another experiment in the same record had many open: that is no measure for this one.
    rows = with_levels(rows, open_files=161)
    long_ago = (rows["name"] == "open_files") & (rows["start_ns"] < FAULT.start_ns - 6 * NS)
    rows.loc[long_ago, "value"] = 900.0
    caught = [finding.name for finding in judge(tmp_path, rows) if finding.verdict == "fail"]
    assert ["open_files" in name for name in caught] == [True, True]
