"""A trend: which release moved what, without false alarms, and what can't be told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from fixtures.synthetic_run import Shape
from harness.cli import main
from harness.documents.report import Report
from harness.documents.rows import ObjectiveRow
from harness.history.run import versions
from harness.report.html import render_trend
from harness.report.trend import Release, Trend, trend_of
from harness.tests.synthetic_report import loaded_report, report_of

#: Of 20 healthy releases, in how many trends the newest may raise an alarm.
FALSE_ALARMS = 0.05
SAMPLES = 5000
OverReleases = Callable[[int], float]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(loaded_report(tmp_path_factory.mktemp("reports"), Shape(games_at_once=20, seconds=40)))


def latency(row: ObjectiveRow, at: float, random: np.random.Generator, noise: float) -> ObjectiveRow:
    """The row as another run would have it: it scatters by ``noise``, and within the run by 3 %."""
    measured = at * float(np.exp(random.normal(0, noise) + random.normal(0, 0.03)))
    interval = (measured * np.exp(-1.96 * 0.03), measured * np.exp(1.96 * 0.03))
    return row.model_copy(update={"measured": measured, "interval": tuple(map(float, interval))})


def share(row: ObjectiveRow, failing: float, random: np.random.Generator) -> ObjectiveRow:
    """The row as another run would have it, of 5 000 samples; its interval is Clopper-Pearson's."""
    count, failed = 5000, int(random.binomial(5000, failing))
    low = float(stats.beta.ppf(0.025, failed, count - failed + 1)) if failed else 0.0
    high = float(stats.beta.ppf(0.975, failed + 1, count - failed))
    figures = (
        (failed / count, low, high) if row.comparison == "<" else (1 - failed / count, 1 - high, 1 - low)
    )
    measured, *interval = (100 * one for one in figures)
    return row.model_copy(update={"measured": measured, "interval": tuple(interval), "samples": count})


def releases(
    report: Report,
    count: int,
    seed: int = 1,
    *,
    noise: float = 0.05,
    level: OverReleases = lambda release: 1.0,
    failing: OverReleases = lambda release: 0.0002,
) -> list[Release]:
    """Return releases v0, v1 ... of which broadcasts take ``level`` times as long, and requests fail."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        rows = [
            latency(row, (level(number) if row.name == "broadcast_latency" else 1) * 0.1, random, noise)
            if row.unit == "s"
            else share(row, failing(number) if row.name == "error_rate" else 0.0002, random)
            for row in report.objectives
        ]
        start = datetime.fromisoformat("2026-01-01T00:00:00+00:00") + timedelta(days=number)
        run = report.run.model_copy(
            update={
                "id": f"run-{number}", "started_at": start.isoformat(), "kind": "sla",
                "versions": {"release": f"v{number}"},
            }
        )  # fmt: skip
        one = report.model_copy(update={"objectives": tuple(rows), "run": run})
        found.append(Release(f"v{number}", start.isoformat(), one))
    return found


def moved(trend: Trend) -> list[tuple[str, str, str]]:
    return [(one.name, change.label, change.row.change) for one in trend.series for change in one.moved]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.02, 0.15])
def test_twenty_healthy_releases_seldom_raise_an_alarm(report: Report, noise: float) -> None:
    """40 trends of nine objectives: runs differ by ``noise``, besides what their own intervals say."""
    trends = [trend_of(releases(report, 20, seed, noise=noise), 0.1) for seed in range(40)]
    alarms = sum(trend.change == "worse" for trend in trends)
    # At 5 % there would be more than this in one of a hundred simulations.
    assert alarms <= stats.binom.ppf(0.99, len(trends), FALSE_ALARMS)
    # Nor is an earlier one blamed, of 171 places a trend.
    assert sum(bool(moved(trend)) for trend in trends) <= 8


@pytest.mark.parametrize("at", [14, 15, 19])
def test_the_release_that_made_it_slower_by_30_percent_is_named(report: Report, at: int) -> None:
    found = 0
    for seed in range(12):
        trend = trend_of(releases(report, 20, seed, level=lambda release: 1.3 if release >= at else 1.0), 0.1)
        found += moved(trend) == [("broadcast_latency", f"v{at}", "worse")]
        named = ("broadcast_latency", f"v{at}", "worse") in moved(trend)
        assert (trend.change == "worse") == (named and at == 19)
    assert found >= 9


def test_what_got_worse_five_releases_ago_decides_where_five_are_asked_for(report: Report) -> None:
    history = releases(report, 20, level=lambda release: 1.4 if release >= 15 else 1.0)
    assert trend_of(history, 0.1).change != "worse"
    assert trend_of(history, 0.1, newest=5).change == "worse"
    assert trend_of(history, 0.1, newest=4).change != "worse"


def test_how_much_it_moved_is_told_with_an_interval(report: Report) -> None:
    trend = trend_of(releases(report, 20, level=lambda release: 1.5 if release >= 12 else 1.0), 0.1)
    (change,) = next(one for one in trend.series if one.name == "broadcast_latency").moved
    low, high = change.row.interval
    assert low < 1.5 < high
    assert low > 1.2
    assert high < 1.8
    assert change.row.base == pytest.approx(0.1, rel=0.1)
    assert change.row.head == pytest.approx(0.15, rel=0.1)


def test_more_failures_in_the_newest_are_worse_and_fewer_better(report: Report) -> None:
    worse = trend_of(releases(report, 10, failing=lambda release: 0.01 if release == 9 else 0.0002), 0.1)
    assert (worse.change, moved(worse)) == ("worse", [("error_rate", "v9", "worse")])
    better = trend_of(releases(report, 10, failing=lambda release: 0.0002 if release == 9 else 0.01), 0.1)
    assert (better.change, moved(better)) == ("better", [("error_rate", "v9", "better")])


def test_two_reports_are_told_apart_by_their_intervals_alone_and_it_is_said(report: Report) -> None:
    trend = trend_of(releases(report, 2, noise=0.0, level=lambda release: 1.5 if release else 1.0), 0.1)
    assert ("broadcast_latency", "v1", "worse") in moved(trend)
    assert "fewer than 5 reports" in " ".join(trend.notes)
    assert all(one.newest.row.reason for one in trend.series if one.newest.row.change == "can't tell")
    assert trend_of(releases(report, 5), 0.1).notes == ()


def test_an_objective_in_doubt_in_the_newest_can_not_be_told(report: Report) -> None:
    history = releases(report, 8, level=lambda release: 3.0 if release == 7 else 1.0)
    last = history[-1].report
    doubted = tuple(row.model_copy(update={"doubts": ("too little CPU",)}) for row in last.objectives)
    history[-1] = Release("v7", "", last.model_copy(update={"objectives": doubted}))
    trend = trend_of(history, 0.1)
    assert trend.change == "can't tell"
    assert {one.newest.row.reason for one in trend.series} == {"too little CPU"}


def test_another_quantile_is_another_objective(report: Report) -> None:
    history = releases(report, 8)
    for place in range(7):
        old = history[place].report
        rows = tuple(
            row.model_copy(update={"quantile": 0.5}) if row.quantile else row for row in old.objectives
        )
        history[place] = Release(f"v{place}", "", old.model_copy(update={"objectives": rows}))
    series = next(one for one in trend_of(history, 0.1).series if one.name == "broadcast_latency")
    assert series.newest.row.reason == "no earlier report measured it"


# --- the command ---------------------------------------------------------------------------------------


def keep(folder: Path, history: Sequence[Release], **run: Any) -> None:
    """Write reports as CI artifacts keep them: each in a folder of its own."""
    for one in history:
        about = one.report.run.model_copy(update=run)
        path = folder / f"artifact-{one.label}" / "report.json"
        path.parent.mkdir(parents=True)
        path.write_text(one.report.model_copy(update={"run": about}).text(), encoding="utf-8")


def trend(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "220"}).invoke(main, ["trend", *map(str, arguments)])


def test_a_worse_newest_release_exits_1_and_is_named_in_every_view(report: Report, tmp_path: Path) -> None:
    keep(tmp_path / "kept", releases(report, 12, level=lambda release: 1.6 if release == 11 else 1.0))
    views = [tmp_path / "trend.md", tmp_path / "trend.html"]
    result = trend(tmp_path / "kept", "--markdown", views[0], "--html", views[1])
    assert result.exit_code == 1, result.output
    for said in (result.output, *(view.read_text(encoding="utf-8") for view in views)):
        assert "worse since v11: × 1.6" in said
    assert "WORSE" in result.output
    told = json.loads(trend(tmp_path / "kept", "--json").stdout)
    assert told["change"] == "worse"
    assert [one["label"] for one in told["releases"]] == [f"v{number}" for number in range(12)]
    assert {one["name"] for one in told["series"] if one["moved"]} == {"broadcast_latency"}


def test_healthy_releases_exit_0_and_one_alone_3(report: Report, tmp_path: Path) -> None:
    keep(tmp_path / "many", releases(report, 12))
    assert trend(tmp_path / "many").exit_code == 0
    keep(tmp_path / "one", releases(report, 1))
    alone = trend(tmp_path / "one")
    assert (alone.exit_code, "CAN'T TELL" in alone.output) == (3, True)


def test_reports_of_another_profile_or_machine_are_left_out_by_name(report: Report, tmp_path: Path) -> None:
    history = releases(report, 8)
    keep(tmp_path, history[:3], profile="smoke", machine={"cores": 64})
    keep(tmp_path, history[3:], profile="quick", machine={"cores": 64})
    result = trend(tmp_path)
    assert "3 left out of profile smoke, not quick: see" in result.output
    assert "--only 'profile=smoke'" in result.output
    assert "v7, with 4 before it" in result.output
    assert "v2, with 2 before it" in trend(tmp_path, "--only", "profile=smoke").output
    mixed = trend(tmp_path, "--anyway").output
    assert "v7, with 7 before it" in mixed
    assert "a change need not come from the service" in mixed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no report in it"),
        (("--only", "colour=red"), "--only colour: nothing is called so"),
        (("--only", "red"), "write TRAIT=VALUE"),
        (("--tolerance", "0%"), "no two runs are the same"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = trend(tmp_path, *arguments)
    assert result.exit_code == 2
    assert said in result.output.splitlines()[-1]


def test_a_folder_that_is_none_and_a_report_of_an_unknown_schema_are_one_line(
    report: Report, tmp_path: Path
) -> None:
    gone = trend(tmp_path / "gone")
    assert (gone.exit_code, gone.output.splitlines()[-1]) == (
        2,
        f"Error: {tmp_path / 'gone'}: no such folder",
    )
    keep(tmp_path, releases(report, 2))
    odd = tmp_path / "artifact-v0" / "report.json"
    odd.write_text('{"schema": "stormwatch.report/9"}', encoding="utf-8")
    result = trend(tmp_path)
    assert result.exit_code == 2
    assert "artifact-v0" in result.output
    assert "stormwatch.report/9" in result.output
    keep(tmp_path / "quick", releases(report, 2), profile="quick")
    odd.unlink()
    none = trend(tmp_path, "--only", "profile=soak")
    assert (none.exit_code, "there are profile" in none.output, "quick" in none.output) == (2, True, True)


def test_runs_within_a_run_are_not_releases(report: Report, tmp_path: Path) -> None:
    history = releases(report, 3)
    keep(tmp_path, history[:2])
    keep(tmp_path / "artifact-v1" / "runs", history[2:])
    assert "v1, with 1 before it" in trend(tmp_path).output


def test_versions_of_a_rollout_are_not_releases_unless_it_is_the_folder(
    report: Report, tmp_path: Path
) -> None:
    history = releases(report, 4)
    keep(tmp_path, history[:2])
    rollout = tmp_path / "newest-rollout"
    for place, one in enumerate(history[2:]):
        keep(rollout, [one], id="new", started_at=f"2026-11-01T00:00:0{place}+00:00")
    (rollout / "rollout.json").write_text("{}", encoding="utf-8")
    assert "v1, with 1 before it" in trend(tmp_path).output
    assert "v3, with 1 before it" in trend(rollout).output


def test_a_page_can_not_be_broken_by_the_name_of_a_release(report: Report) -> None:
    history = releases(report, 6, level=lambda release: 2.0 if release == 5 else 1.0)
    nasty = "</script><img src=x>"
    page = render_trend(trend_of([*history[:-1], Release(nasty, "", history[-1].report)], 0.1))
    assert nasty not in page


def test_a_run_records_the_release_it_is_told_else_the_commit_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORMWATCH_RELEASE", "GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    assert "release" not in versions()
    monkeypatch.setenv("CI_COMMIT_SHA", "0123abc")
    assert versions()["release"] == "0123abc"
    monkeypatch.setenv("STORMWATCH_RELEASE", "v1.8")
    assert versions()["release"] == "v1.8"
