"""How sure a sample is: exact quantiles and rates with intervals that count correlated samples once.

Samples of a run come in clusters: the deliveries of one event to its players, the transitions of one
tick, the requests of one second. Counted as independent they would make every interval too narrow.
Each estimate here therefore has a *design effect*, the factor by which the clusters inflate its
variance (Kish 1965), and an *effective sample size*, the samples divided by it. Intervals are the
exact ones (order statistics, Clopper-Pearson) for the effective size, with Korn and Graubard's
correction for a design effect that was itself estimated from few clusters (Survey Methodology 24,
1998). For a quantile the design effect is that of the share of samples below it (Woodruff 1952); where
samples are tied, the larger one of the shares with and without those equal to it.

Where a handful of clusters makes nearly all of the variance (three of 120 ticks that lost everything, by
chance often fewer), it is known too badly: in simulations such intervals cover the truth in some 87 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not stats: its import costs more CPU than a small report

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Searches for a needed sample size give up beyond this many effective samples.
_MOST_SAMPLES: Final = 1e12


@dataclass(frozen=True)
class Estimate:
    """A measured value, its confidence interval and what it rests on."""

    measured: float
    #: Ends of the interval; -inf or +inf where the samples bound nothing.
    low: float
    high: float
    samples: int
    clusters: int
    #: How many independent samples these are worth.
    effective: float
    #: Factor by which clusters inflate the variance, at least 1.
    design_effect: float


def quantile(ordered: Floats, q: float) -> float:
    """Return the smallest value that at least ``q`` of the samples do not exceed (no interpolation).

    Parameters
    ----------
    ordered : samples, ascending, at least one; +inf counts as larger than any other.
    q : between 0 and 1, exclusive.
    """
    return float(ordered[_rank(len(ordered), q) - 1])


def _rank(count: int, q: float) -> int:
    # 0.95 * 20 is 19.000000000000004 in floating point: the 19th of 20 is meant, not the 20th.
    return min(max(math.ceil(round(count * q, 9)), 1), count)


def order_statistics(count: int, q: float, confidence: float) -> tuple[int, int]:
    """Return the ranks (from 1) whose samples enclose quantile ``q``, whatever the distribution.

    Rank 0 stands for minus infinity and ``count + 1`` for plus infinity: too few samples to bound
    that side. David and Nagaraja, *Order Statistics*, section 7.1.
    """
    tail = (1 - confidence) / 2
    return _binomial_quantile(tail, count, q), _binomial_quantile(1 - tail, count, q) + 1


def _binomial_quantile(level: float, count: int, share: float) -> int:
    """Return the smallest number of hits among ``count`` that is not exceeded with probability ``level``."""
    found = math.ceil(special.bdtrik(level, count, share))
    return max(found - 1, 0) if special.bdtr(max(found - 1, 0), count, share) >= level else found


def quantile_estimate(
    values: Floats, q: float, confidence: float, clusters: Integers | None = None
) -> Estimate:
    """Return quantile ``q`` of ``values`` with its distribution-free interval.

    Parameters
    ----------
    values : at least one sample, no NaN; +inf for what never happened.
    clusters : cluster number of each sample; None: all are independent.
    """
    ordered = np.sort(values)
    count = len(ordered)
    measured = quantile(ordered, q)
    effect, groups = 1.0, count
    if clusters is not None:
        # Where many samples are equal to the quantile (infinite ones are), one of the two shares may be all
        # of them, or nearly, and tell nothing of how the clusters differ; else they are the same.
        effect, groups = max(
            design_effect(values <= measured, clusters), design_effect(values < measured, clusters)
        )
    effective = effective_samples(count, groups, effect, confidence)
    whole = max(int(effective), 1)
    low_rank, high_rank = order_statistics(whole, q, confidence)
    # Rank r of the effective samples lies where rank r (n+1)/(m+1) of all samples does: both have the
    # same expected share of the distribution below them.
    scale = (count + 1) / (whole + 1)
    low = -math.inf if low_rank < 1 else float(ordered[max(math.floor(low_rank * scale), 1) - 1])
    high = math.inf if high_rank > whole else float(ordered[min(math.ceil(high_rank * scale), count) - 1])
    return Estimate(measured, low, high, count, groups, effective, effect)


def rate_estimate(
    hits: NDArray[np.bool_], confidence: float, clusters: Integers | None = None, assumed_icc: float = 0.0
) -> Estimate:
    """Return the share of ``hits`` with its Clopper-Pearson interval for the effective sample size.

    Parameters
    ----------
    hits : at least one sample.
    clusters : cluster number of each sample; None: all are independent.
    assumed_icc : intra-cluster correlation below which the design effect is never put. Without a
        single miss (or hit) there is nothing to estimate it from, so it has to be declared.
    """
    count, successes = len(hits), int(np.count_nonzero(hits))
    effect, groups = 1.0, count
    if clusters is not None:
        effect, groups = design_effect(hits, clusters)
        effect = max(effect, 1 + assumed_icc * (mean_cluster_size(clusters) - 1))
    effective = effective_samples(count, groups, effect, confidence)
    share = successes / count
    low, high = clopper_pearson(share * effective, effective, confidence)
    return Estimate(share, low, high, count, groups, effective, effect)


def clopper_pearson(successes: float, count: float, confidence: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval; fractional counts are allowed (effective samples).

    The beta form; equal to ``scipy.stats.binomtest(...).proportion_ci(method="exact")`` for whole counts.
    """
    tail = (1 - confidence) / 2
    failures = count - successes
    # What stats.beta.ppf computes, at a thirtieth of its time: a search for sample sizes asks often.
    low = 0.0 if successes <= 0 else float(special.betaincinv(successes, failures + 1, tail))
    high = 1.0 if failures <= 0 else float(special.betaincinv(successes + 1, failures, 1 - tail))
    return low, high


def design_effect(hits: NDArray[np.bool_], clusters: Integers) -> tuple[float, int]:
    """Return the factor by which ``clusters`` inflate the variance of a share, and their number.

    The linearised variance of a ratio over clusters of unequal size (Cochran, *Sampling Techniques*,
    section 9A.2) over the binomial variance; at least 1, and at most what complete correlation would
    make it (Kish: the mean cluster size). Where all samples agree, 1: nothing is known.
    """
    codes, sizes = _sizes(clusters)
    groups, count = int(np.count_nonzero(sizes)), len(hits)
    share = np.count_nonzero(hits) / count
    if groups < 2 or share in (0.0, 1.0):
        return 1.0, groups
    per_cluster = np.bincount(codes, weights=hits, minlength=len(sizes))
    residuals = per_cluster - share * sizes
    variance = groups / (groups - 1) * float(residuals @ residuals) / count**2
    effect = variance / (share * (1 - share) / count)
    return min(max(effect, 1.0), max(float(sizes @ sizes) / count, 1.0)), groups


def mean_cluster_size(clusters: Integers) -> float:
    """Return the size of the cluster that a sample finds itself in, on average (large ones count more)."""
    sizes = _sizes(clusters)[1]
    return float(sizes @ sizes / sizes.sum())


def _sizes(clusters: Integers) -> tuple[Integers, Floats]:
    """Small numbers for clusters, and the size of each; sizes of 0 are of clusters that do not exist."""
    codes = clusters - clusters.min()
    if codes.max() > 4 * len(codes) + 1000:
        codes = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
    return codes, np.bincount(codes).astype(np.float64)


def effective_samples(count: int, groups: int, effect: float, confidence: float) -> float:
    """Return how many independent samples ``count`` clustered ones are worth.

    Korn and Graubard's factor (t with n - 1 over t with g - 1 degrees of freedom, squared) pays for
    the design effect being an estimate from ``groups`` clusters.
    """
    if groups == count:
        return float(count)
    if groups < 2:
        return 1.0
    level = (1 + confidence) / 2
    caution = float(special.stdtrit(count - 1, level) / special.stdtrit(groups - 1, level)) ** 2
    return max(count / effect * caution, 1.0)


def samples_needed(share: float, limit: float, confidence: float) -> float | None:
    """Return how many independent samples with this ``share`` of hits put ``limit`` outside the interval.

    For a quantile q against a threshold, ``share`` is that of the samples within the threshold and
    ``limit`` is q. None: no number of samples would (the share is at the limit).
    """

    def decided(count: float) -> bool:
        low, high = clopper_pearson(share * count, count, confidence)
        return limit < low or limit > high

    if share == limit or not decided(_MOST_SAMPLES):
        return None
    below, above = 0.0, 1.0
    while not decided(above):
        below, above = above, above * 2
    while above - below > max(1.0, above * 1e-6):
        middle = (below + above) / 2
        below, above = (below, middle) if decided(middle) else (middle, above)
    return float(math.ceil(above))


def bearable_icc(share: float, limit: float, clusters: Integers, confidence: float) -> float | None:
    """Return the largest intra-cluster correlation at which the interval would still exclude ``limit``.

    Says how much a verdict without a single failure leans on the correlation it assumes.
    None: not even independent samples exclude it.
    """
    needed = samples_needed(share, limit, confidence)
    count = len(clusters)
    groups = int(np.count_nonzero(_sizes(clusters)[1]))
    independent = effective_samples(count, groups, 1.0, confidence)
    if needed is None or needed > independent:
        return None
    size = mean_cluster_size(clusters)
    return 1.0 if size <= 1 else min((independent / needed - 1) / (size - 1), 1.0)
