"""Comparing two runs: what counts as worse, and how sure that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.cli import main
from harness.history import RunFolder
from harness.judge import Samples
from harness.report.compare import bootstrap_quantiles
from harness.tests.helpers import policy_with

pytestmark = pytest.mark.slow

SHAPE = Shape(games_at_once=100, seconds=60, http_per_s=120)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


@pytest.fixture(scope="module")
def base(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("base"), rows, SHAPE)


@pytest.fixture(scope="module")
def twin(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("twin"), rows, SHAPE)


def compare(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["compare", *map(str, arguments)])


def slower(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The same run, its deliveries slower."""
    rows = rows.copy()
    heard = (rows["kind"] == "delivery") & (rows["name"] == "phase_changed")
    took = (rows.loc[heard, "end_ns"] - rows.loc[heard, "start_ns"]).astype("float64")
    rows.loc[heard, "end_ns"] = rows.loc[heard, "start_ns"] + (took * factor).round().astype("int64")
    return rows


def test_another_run_of_the_same_service_is_not_worse(base: RunFolder, tmp_path: Path) -> None:
    again = Shape(games_at_once=100, seconds=60, http_per_s=120, seed=8)
    head = write_run(tmp_path, synthetic_rows(again), again)
    result = compare(base.path, head.path)
    assert result.exit_code != 1
    assert "worse" not in result.output
    delivery = next(line for line in result.output.splitlines() if "PubNub delivery" in line)
    assert delivery.rstrip().endswith("same")


def test_slower_deliveries_are_worse_and_faster_ones_better(
    rows: pd.DataFrame, base: RunFolder, tmp_path: Path
) -> None:
    worse = write_run(tmp_path, slower(rows, 1.5), SHAPE)
    result = compare(base.path, worse.path)
    assert result.exit_code == 1
    assert "WORSE" in result.output
    turned = compare(worse.path, base.path)
    delivery = next(line for line in turned.output.splitlines() if "PubNub delivery" in line)
    assert (turned.exit_code != 1, delivery.rstrip().endswith("better")) == (True, True)
    assert compare(base.path, worse.path, "--tolerance", "90%").exit_code != 1


def test_a_difference_within_the_noise_can_not_be_told(base: RunFolder, tmp_path: Path) -> None:
    small = Shape(games_at_once=100, seconds=20, http_per_s=120, seed=9)
    head = write_run(tmp_path, synthetic_rows(small), small)
    result = compare(base.path, head.path, "--tolerance", "0.1%")
    assert result.exit_code == 3
    assert "CAN'T TELL" in result.output


def test_failures_are_worse_also_where_there_were_none(
    rows: pd.DataFrame, base: RunFolder, tmp_path: Path
) -> None:
    failing = rows.copy()
    some = (failing["kind"] == "http") & (np.random.default_rng(1).random(len(failing)) < 0.05)
    failing.loc[some, "ok"] = False
    failing.loc[some, "error"] = "http 503"
    head = write_run(tmp_path, failing, SHAPE)
    result = compare(base.path, head.path)
    line = next(line for line in result.output.splitlines() if "Error rate" in line)
    assert line.rstrip().endswith("worse")
    assert result.exit_code == 1


def test_events_that_no_longer_arrive_are_worse(rows: pd.DataFrame, base: RunFolder, tmp_path: Path) -> None:
    heard = (rows["kind"] == "delivery") & (rows["name"] == "phase_changed")
    lost = heard & (np.random.default_rng(2).random(len(rows)) < 0.2)
    head = write_run(tmp_path, rows[~lost], SHAPE)
    line = next(
        line for line in compare(base.path, head.path).output.splitlines() if "Event broadcasting" in line
    )
    assert line.rstrip().endswith("worse")


def test_a_doubtful_run_can_not_be_told(rows: pd.DataFrame, base: RunFolder, tmp_path: Path) -> None:
    head = write_run(tmp_path, slower(rows, 2), SHAPE, interrupted=True)
    result = compare(base.path, head.path)
    assert result.exit_code == 3
    assert "CAN'T TELL" in result.output
    assert "interrupted" in result.output


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"profile": "production"}, "profile quick and production"),
        ({"target": {"service_url": "https://staging"}}, "target embedded and https://staging"),
        ({"options": {"tick_s": 10, "games": 100, "players": 4}}, "tick_s 1.0 and 10"),
    ],
)
def test_unlike_runs_are_refused_unless_told_otherwise(
    about: dict[str, Any], named: str, rows: pd.DataFrame, base: RunFolder, tmp_path: Path
) -> None:
    head = write_run(tmp_path, rows, SHAPE, **about)
    result = compare(base.path, head.path)
    assert result.exit_code == 2
    assert named in " ".join(result.output.split())
    assert compare(base.path, head.path, "--anyway").exit_code != 2


def test_a_run_compared_with_itself_is_refused(base: RunFolder) -> None:
    result = compare(base.path, base.path)
    assert (result.exit_code, "is compared with itself" in result.output) == (2, True)


def test_what_is_not_promised_of_a_profile_is_not_compared(
    base: RunFolder, twin: RunFolder, tmp_path: Path
) -> None:
    policy = policy_with(tmp_path, 'metric = "errors"', 'metric = "errors"\nprofiles = ["production"]')
    assert "Error rate" in compare(base.path, twin.path).output
    result = compare(base.path, twin.path, "--sla", policy)
    assert "Error rate" not in result.output
    assert "Availability" in result.output


def test_a_run_that_is_not_there_exits_4(base: RunFolder, tmp_path: Path) -> None:
    result = compare(base.path, tmp_path / "nowhere")
    assert (result.exit_code, "no such run" in result.output) == (4, True)


def test_the_views_show_every_objective(base: RunFolder, twin: RunFolder, tmp_path: Path) -> None:
    page, text = tmp_path / "compare.html", tmp_path / "compare.md"
    compare(base.path, twin.path, "--html", page, "--markdown", text)
    assert text.read_text(encoding="utf-8").count("✅ same") >= 2
    html = page.read_text(encoding="utf-8")
    specs = html.split('id="specs">')[1].split("</script>")[0]
    assert set(json.loads(specs)) >= {"broadcast_latency", "pubnub_delivery", "error_rate"}


def test_the_bootstrap_covers_the_true_ratio_when_samples_come_in_ticks() -> None:
    random = np.random.default_rng(3)
    truth, runs, missed, naively_missed = 1.2, 60, 0, 0

    def sample(scale: float) -> Samples:
        clusters = np.repeat(np.arange(60), random.integers(10, 30, 60))
        shared, own = random.normal(0, 0.3, 60)[clusters], random.normal(0, 0.3, len(clusters))
        return Samples(scale * np.exp(shared + own), clusters, "ticks", "")

    def misses(before: Samples, after: Samples) -> bool:
        ratios = bootstrap_quantiles(after, 0.95, random, 200) / bootstrap_quantiles(
            before, 0.95, random, 200
        )
        return not np.quantile(ratios, 0.025) <= truth <= np.quantile(ratios, 0.975)

    def alone(samples: Samples) -> Samples:
        return Samples(samples.values, random.permutation(samples.clusters), "", "")

    for _ in range(runs):
        before, after = sample(1.0), sample(truth)
        missed += misses(before, after)
        naively_missed += misses(alone(before), alone(after))
    # A percentile bootstrap of a tail quantile is a little short; the naive one is hopeless.
    assert missed <= stats.binom.ppf(0.9999, runs, 0.07)
    assert naively_missed > missed + 5
