"""What is judged belongs to this run: others' games and programs are told of, and charged to nobody."""

from __future__ import annotations

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.observe.readings import machine_readings
from harness.sla.policy import load_policy
from harness.tests.test_verdicts import SHAPE, named, of, verdict_of


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def failing_ticks(rows: pd.DataFrame, others: float) -> pd.DataFrame:
    rows = rows.copy()
    rows.loc[of(rows, "monitor"), ["ok", "error"]] = [False, "tick errors"]
    looks = rows[of(rows, "resource", "outbox_depth")].assign(
        name="others_overdue", actor="database", value=others
    )
    return pd.concat([rows, looks], ignore_index=True)


def test_tick_errors_of_others_games_are_said_and_not_charged(good_rows: pd.DataFrame) -> None:
    report = verdict_of(failing_ticks(good_rows, 2.0), load_policy())
    for name in ("error_rate", "monitor_execution"):
        row = named(report, name)
        assert row["verdict"] == "pass"
        assert "while games of others were overdue" in row["explanation"]


def test_tick_errors_with_no_game_of_others_are_the_services(good_rows: pd.DataFrame) -> None:
    report = verdict_of(failing_ticks(good_rows, 0.0), load_policy())
    assert named(report, "error_rate")["verdict"] == "fail"
    assert named(report, "monitor_execution")["verdict"] == "fail"


def test_a_busy_machine_is_named_with_what_others_used(good_rows: pd.DataFrame) -> None:
    looks = good_rows[of(good_rows, "resource", "outbox_depth")]
    readings = [("cpu_percent", 95.0), ("steal_percent", 3.0), ("load_average", 4.5)]
    rows = pd.concat(
        [good_rows, *(looks.assign(name=name, actor="machine", value=value) for name, value in readings)],
        ignore_index=True,
    )
    ours = of(rows, "resource", "cpu_percent") & (rows["actor"] != "machine")
    rows.loc[ours, "value"] = 12.0
    row = named(verdict_of(rows, load_policy(), machine={"cores": 2}), "machine")
    # Three processes of ours use 12 % of a core each: 18 % of two cores.
    assert (row["verdict"], row["measured"]) == ("pass", pytest.approx(77))
    assert row["explanation"].startswith("It was busy to 95 %, steal 3 %, load average 4.5, on 2 cores.")


def test_the_machine_is_read() -> None:
    assert [row.name for row in machine_readings()] == ["cpu_percent", "steal_percent", "load_average"]
