"""The intervals against published values, and by simulation against what they promise."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pytest
from scipy import stats

from harness.sla import statistics as st

CONFIDENCE = 0.95


def misses_allowed(runs: int, coverage: float = CONFIDENCE) -> int:
    """So many intervals out of ``runs`` may miss without it being more than chance (1 in 10,000)."""
    return int(stats.binom.ppf(0.9999, runs, 1 - coverage))


# --- against published values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    # Clopper and Pearson (Biometrika 26, 1934), chart and later tables; R's binom.test gives the same.
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (1, 20, 0.0013, 0.2487), (10, 10, 0.6915, 1.0)],
)
def test_clopper_pearson_agrees_with_the_tables(successes: int, count: int, low: float, high: float) -> None:
    assert st.clopper_pearson(successes, count, CONFIDENCE) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "count"), [(0, 3689), (1, 60), (17, 400), (399, 400)])
def test_clopper_pearson_agrees_with_scipy(successes: int, count: int) -> None:
    interval = stats.binomtest(successes, count).proportion_ci(CONFIDENCE, method="exact")
    assert st.clopper_pearson(successes, count, CONFIDENCE) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # 95 % intervals of the median, e.g. Conover, Practical Nonparametric Statistics, table A3.
    [(6, 1, 6), (10, 2, 9), (20, 6, 15), (30, 10, 21), (50, 18, 33)],
)
def test_the_medians_order_statistics_agree_with_the_tables(count: int, low: int, high: int) -> None:
    assert st.order_statistics(count, 0.5, CONFIDENCE) == (low, high)


def test_fewer_than_72_samples_do_not_bound_p95_from_above() -> None:
    # 0.95 ** 71 is over 2.5 %, 0.95 ** 72 is not.
    assert st.order_statistics(71, 0.95, CONFIDENCE)[1] == 72
    assert st.order_statistics(72, 0.95, CONFIDENCE)[1] == 72


def test_the_quantile_is_a_sample_and_not_an_interpolation() -> None:
    assert st.quantile(np.arange(1.0, 21.0), 0.95) == 19.0
    assert st.quantile(np.arange(1.0, 101.0), 0.999) == 100.0
    assert st.quantile(np.array([3.0]), 0.01) == 3.0


def test_a_quantile_with_too_few_samples_is_unbounded() -> None:
    estimate = st.quantile_estimate(np.arange(40.0), 0.95, CONFIDENCE)
    assert estimate.high == math.inf
    assert estimate.low > 30


def test_events_that_never_arrive_move_the_quantile_to_infinity() -> None:
    values = np.concatenate([np.full(900, 0.05), np.full(100, np.inf)])
    estimate = st.quantile_estimate(values, 0.95, CONFIDENCE)
    assert (estimate.measured, estimate.low) == (math.inf, math.inf)


def test_3688_successes_do_not_prove_99_9_percent_and_3689_do() -> None:
    # 1 - 0.025 ** (1 / n) < 0.001 from n = 3688 (rounded up) on.
    assert st.samples_needed(1.0, 0.999, CONFIDENCE) == 3688
    assert st.clopper_pearson(3688, 3688, CONFIDENCE)[0] > 0.999
    assert st.clopper_pearson(3687, 3687, CONFIDENCE)[0] <= 0.999


def test_no_number_of_samples_decides_a_rate_that_is_at_its_threshold() -> None:
    assert st.samples_needed(0.005, 0.005, CONFIDENCE) is None


@pytest.mark.parametrize(("share", "limit"), [(0.9995, 0.999), (0.0042, 0.005), (0.97, 0.95), (0.94, 0.95)])
def test_the_samples_needed_decide_and_half_of_them_do_not(share: float, limit: float) -> None:
    needed = st.samples_needed(share, limit, CONFIDENCE)
    assert needed is not None
    low, high = st.clopper_pearson(share * needed, needed, CONFIDENCE)
    assert not low <= limit <= high
    low, high = st.clopper_pearson(share * needed / 2, needed / 2, CONFIDENCE)
    assert low <= limit <= high


# --- clusters ------------------------------------------------------------------------------------------


def test_copies_of_a_sample_are_worth_one_sample() -> None:
    random = np.random.default_rng(1)
    once = random.random(400) < 0.3
    clusters = np.repeat(np.arange(400), 10)
    estimate = st.rate_estimate(np.repeat(once, 10), CONFIDENCE, clusters)
    assert estimate.design_effect == pytest.approx(10, rel=0.01)
    assert estimate.effective == pytest.approx(400, rel=0.03)


def test_independent_samples_keep_their_number_whatever_their_labels() -> None:
    random = np.random.default_rng(2)
    estimate = st.rate_estimate(random.random(20_000) < 0.3, CONFIDENCE, random.integers(0, 500, 20_000))
    assert estimate.effective > 16_000


def test_one_cluster_is_one_sample() -> None:
    estimate = st.rate_estimate(np.ones(5000, dtype=bool), CONFIDENCE, np.zeros(5000, dtype=np.int64))
    assert estimate.effective == 1
    assert estimate.low == pytest.approx(0.025)


def test_without_a_failure_the_assumed_correlation_counts() -> None:
    hits, clusters = np.ones(6000, dtype=bool), np.repeat(np.arange(120), 50)
    trusting = st.rate_estimate(hits, CONFIDENCE, clusters, assumed_icc=0.0)
    careful = st.rate_estimate(hits, CONFIDENCE, clusters, assumed_icc=0.01)
    assert careful.design_effect == pytest.approx(1.49)
    assert careful.low < trusting.low


def test_the_bearable_correlation_is_where_the_verdict_tips() -> None:
    hits, clusters = np.ones(6000, dtype=bool), np.repeat(np.arange(120), 50)
    bearable = st.bearable_icc(1.0, 0.999, clusters, CONFIDENCE)
    assert bearable is not None
    assert st.rate_estimate(hits, CONFIDENCE, clusters, bearable * 0.99).low > 0.999
    assert st.rate_estimate(hits, CONFIDENCE, clusters, bearable * 1.01).low <= 0.999


# --- coverage, by simulation -----------------------------------------------------------------------------

Sample = tuple[np.ndarray, np.ndarray]
TICKS = 120


def missed(truth: float, estimates: Iterable[st.Estimate]) -> int:
    """Return how many intervals do not hold the truth."""
    return sum(not one.low <= truth <= one.high for one in estimates)


def test_quantile_intervals_cover_the_truth() -> None:
    random, runs = np.random.default_rng(3), 2000
    drawn = (random.lognormal(0, 1, 300) for _ in range(runs))
    estimates = (st.quantile_estimate(values, 0.95, CONFIDENCE) for values in drawn)
    assert missed(stats.lognorm.ppf(0.95, 1.0), estimates) <= misses_allowed(runs)


@pytest.mark.parametrize("truth", [0.002, 0.05, 0.5])
def test_rate_intervals_cover_the_truth(truth: float) -> None:
    random, runs = np.random.default_rng(4), 2000
    estimates = (st.rate_estimate(random.random(1500) < truth, CONFIDENCE) for _ in range(runs))
    assert missed(truth, estimates) <= misses_allowed(runs)


def clustered_latencies(random: np.random.Generator) -> Sample:
    """Each tick has its own delay that all its deliveries share, beside one of their own: ICC 0.5."""
    clusters = np.repeat(np.arange(TICKS), random.integers(30, 90, TICKS))
    return random.normal(0, 1, TICKS)[clusters] + random.normal(0, 1, len(clusters)), clusters


def lossy_latencies(random: np.random.Generator, lost: float, resolution: float) -> Sample:
    """Each tick loses all of its events with probability ``lost``, or delivers them in rounded times."""
    clusters = np.repeat(np.arange(TICKS), random.integers(30, 90, TICKS))
    took = np.ceil(random.lognormal(0, 1, len(clusters)) / resolution) * resolution
    return np.where((random.random(TICKS) < lost)[clusters], np.inf, took), clusters


@pytest.mark.parametrize(
    ("sample", "truth", "coverage", "naively"),
    [
        (clustered_latencies, stats.norm.ppf(0.95, scale=math.sqrt(2)), CONFIDENCE, 5),
        # Coarse clocks tie many samples with the quantile.
        (
            partial(lossy_latencies, lost=0.04, resolution=4.0),
            math.ceil(stats.lognorm.ppf(0.95 / 0.96, 1.0) / 4) * 4,
            CONFIDENCE,
            1,
        ),
        (partial(lossy_latencies, lost=0.06, resolution=1e-9), math.inf, CONFIDENCE, 1),
        # Three or four ticks of 120, often fewer: too few to know their variance (see the module).
        (partial(lossy_latencies, lost=0.03, resolution=1e-9), stats.lognorm.ppf(0.95 / 0.97, 1.0), 0.86, 1),
    ],
)
def test_quantile_intervals_cover_the_truth_when_samples_come_in_ticks(
    sample: Callable[[np.random.Generator], Sample], truth: float, coverage: float, naively: int
) -> None:
    random, runs = np.random.default_rng(8), 600
    samples = [sample(random) for _ in range(runs)]
    allowed = misses_allowed(runs, coverage)
    in_ticks = (st.quantile_estimate(values, 0.95, CONFIDENCE, ticks) for values, ticks in samples)
    assert missed(truth, in_ticks) <= allowed
    # The test can tell: counted as independent, the same samples miss more often than so many times that.
    alone = (st.quantile_estimate(values, 0.95, CONFIDENCE) for values, _ in samples)
    assert missed(truth, alone) > naively * allowed


def test_one_tick_that_lost_all_its_events_is_one_misfortune_and_no_proof() -> None:
    random = np.random.default_rng(9)
    clusters = np.concatenate([np.zeros(1600, dtype=np.int64), np.repeat(np.arange(1, 120), 200)])
    values = np.where(clusters == 0, np.inf, random.lognormal(-3, 0.5, len(clusters)))
    estimate = st.quantile_estimate(values, 0.95, CONFIDENCE, clusters)
    assert (estimate.measured, estimate.high) == (math.inf, math.inf)
    assert estimate.low < 1
    assert estimate.effective < 200


def failing_together(
    random: np.random.Generator, truth: float, icc: float, runs: int
) -> Iterator[st.Estimate]:
    """Estimates of a rate whose failures cluster in ticks of 50."""
    a, b = truth * (1 - icc) / icc, (1 - truth) * (1 - icc) / icc
    clusters = np.repeat(np.arange(TICKS), 50)
    for _ in range(runs):
        failed = random.binomial(50, random.beta(a, b, TICKS))
        hits = (np.arange(50) < failed[:, None]).ravel()
        yield st.rate_estimate(hits, CONFIDENCE, clusters, assumed_icc=min(icc, 0.01))


@pytest.mark.parametrize(("truth", "icc"), [(0.02, 0.1), (0.1, 0.3), (0.001, 0.004)])
def test_rate_intervals_cover_the_truth_when_failures_come_together(truth: float, icc: float) -> None:
    estimates = failing_together(np.random.default_rng(6), truth, icc, 1000)
    assert missed(truth, estimates) <= misses_allowed(1000)


def test_a_zero_failure_pass_is_rarely_wrong_at_the_assumed_correlation() -> None:
    # The true rate is just bad enough to fail, failures cluster as assumed: how often do we say pass?
    truth, runs = 0.001, 3000
    estimates = failing_together(np.random.default_rng(7), truth, 0.004, runs)
    passed = sum(one.high < truth for one in estimates)
    assert passed <= int(stats.binom.ppf(0.9999, runs, 0.025))
