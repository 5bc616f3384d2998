"""Looked at after every cluster, the tests of a rollout are wrong as seldom as they say."""

from __future__ import annotations

import numpy as np
import pytest

from harness.sla.sequential import against, in_favour, samples_needed, upper_bound

#: The limits of a rollout's checkpoints: errors, timers, deliveries, and tails of latencies.
_LIMITS = (0.005, 0.001, 0.005, 0.05, 0.05, 0.05, 0.05, 0.01)
_ALPHA = 0.05


def _shares(random: np.random.Generator, shape: tuple[int, ...], mean: float, icc: float) -> np.ndarray:
    """Shares of bad samples in clusters of 20 that fail together as much as ``icc`` says."""
    if icc:
        strength = 1 / icc - 1
        chance = random.beta(mean * strength, (1 - mean) * strength, shape)
    else:
        chance = np.full(shape, mean)
    return random.binomial(20, chance) / 20


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.5])
def test_a_version_at_all_its_limits_is_rolled_back_in_at_most_5_percent_of_rollouts(icc: float) -> None:
    random = np.random.default_rng(11)
    rollouts, clusters = 1000, 300
    alarmed = np.zeros(rollouts, dtype=bool)
    for limit in _LIMITS:
        wealth = against(_shares(random, (rollouts, clusters), limit, icc), limit)
        # Looked at after each cluster, and stopped at the first that is enough.
        alarmed |= (wealth >= len(_LIMITS) / _ALPHA).any(axis=1)
    assert alarmed.mean() <= _ALPHA


def test_a_fixed_interval_would_not_bear_that_it_is_looked_at_again_and_again() -> None:
    random = np.random.default_rng(11)
    bad = np.cumsum(random.binomial(20, 0.05, (1500, 300)), axis=1)
    count = 20 * np.arange(1, 301)
    deviation = (bad - 0.05 * count) / np.sqrt(0.05 * 0.95 * count)
    assert (deviation > 1.645).any(axis=1).mean() > 4 * _ALPHA


@pytest.mark.parametrize("limit", [0.005, 0.05])
def test_a_version_at_its_limit_passes_in_at_most_5_percent_of_rollouts(limit: float) -> None:
    random = np.random.default_rng(12)
    bad = np.cumsum(random.binomial(20, limit, (1500, 300)), axis=1)
    found = in_favour(bad, 20 * np.arange(1, 301), limit)
    assert (found >= 1 / _ALPHA).any(axis=1).mean() <= _ALPHA


def test_four_times_the_errors_are_found_within_a_minute_of_40_requests_a_second() -> None:
    random = np.random.default_rng(13)
    shares = random.binomial(40, 0.02, (500, 60)) / 40
    assert (against(shares, 0.005) >= len(_LIMITS) / _ALPHA).any(axis=1).mean() > 0.95


def test_one_second_in_which_all_fails_is_no_proof_and_four_of_them_are() -> None:
    once = np.zeros(60)
    once[30] = 1
    often = np.zeros(60)
    often[30:34] = 1
    assert against(once, 0.005).max() < len(_LIMITS) / _ALPHA < against(often, 0.005).max()


def test_without_a_failure_3_5_over_the_limit_are_enough() -> None:
    for limit in (0.001, 0.005, 0.05):
        assert samples_needed(0, limit, 0.95) == pytest.approx(3.5 / limit, rel=0.07)


def test_no_number_is_enough_at_the_limit() -> None:
    assert samples_needed(0.005, 0.005, 0.95) is None


def test_the_upper_bound_is_the_limit_that_just_passes() -> None:
    bound = upper_bound(2, 3000, 0.95)
    assert 2 / 3000 < bound < 0.005
    assert in_favour(2, 3000, bound * 1.01) >= 20 > in_favour(2, 3000, bound * 0.99)


def test_nothing_seen_is_no_evidence_either_way() -> None:
    assert in_favour(0, 0, 0.01) == pytest.approx(1)
    assert against(np.zeros(0), 0.01).size == 0
    assert upper_bound(0, 0, 0.95) == 1
