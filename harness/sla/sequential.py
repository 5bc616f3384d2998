"""Tests of a share that may be looked at any time: is it beyond its limit, or surely within it?

An interval of a fixed sample is right once. Who looks again with every second and stops at the first interval
that excludes the limit is wrong far more often than it says. The tests here are *test supermartingales*: a
wealth that starts at 1 and can't grow on average as long as the limit is kept, whatever came before. By
Ville's inequality it ever reaches ``1 / alpha`` with a probability of at most ``alpha``, however often it is
looked at and whenever it is stopped (Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021).

:func:`against` bets on a breach, a cluster at a time (Waudby-Smith and Ramdas 2024): only the mean share of a
cluster counts, so that failures of one tick or second may come together as they like. :func:`in_favour` mixes
likelihood ratios over all shares below the limit (Robbins 1970): it counts samples, as a limit of 0.1 % would
else take hours, and clusters by the effective number of samples (``statistics.rate_estimate``).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

#: Bets, as shares of the largest that can't lose everything: small ones find small breaches, large ones soon.
_BETS: Final = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
#: Searches for a number of samples give up beyond this many.
_MOST_SAMPLES: Final = 1e9
#: More evidence than this is told as this: its logarithm.
_MOST: Final = 700.0
#: No part of the mixture is smaller than this.
_LEAST: Final = 1e-300


def against(shares: Floats, limit: float) -> Floats:
    """Return, after each cluster, the evidence that more than ``limit`` of the samples are bad.

    Parameters
    ----------
    shares : the share of bad samples in each cluster, in the order of time along the last axis.
    limit : between 0 and 1, exclusive; kept where each cluster's share, given those before, is no larger on
        average.
    """
    steps = np.log1p(_BETS[:, None] * (np.asarray(shares, dtype=np.float64)[..., None, :] / limit - 1))
    wealth: Floats = special.logsumexp(np.cumsum(steps, axis=-1), axis=-2, b=1 / len(_BETS))
    return np.exp(np.minimum(wealth, _MOST))


def in_favour(bad: Floats | float, count: Floats | float, limit: float) -> Floats:
    """Return the evidence that less than ``limit`` of the samples are bad.

    Parameters
    ----------
    bad, count : of independent samples so far, or what they are worth; need not be whole.
    limit : between 0 and 1, exclusive.

    Notes
    -----
    Half of the mixture bets that nothing is ever bad, the other half is a Beta(1, 1 / limit) cut off at the
    limit. Without one bad sample, 3.5 / limit of them are enough for 95 %.
    """
    bad, count = np.asarray(bad, dtype=np.float64), np.asarray(count, dtype=np.float64)
    good, prior = count - bad, 1 / limit
    at_limit = bad * math.log(limit) + good * math.log1p(-limit)
    mixed = (
        special.betaln(1 + bad, prior + good)
        + np.log(np.maximum(special.betainc(1 + bad, prior + good, limit), _LEAST))
        - special.betaln(1, prior)
        - math.log(special.betainc(1, prior, limit))
    )
    never = np.where(bad > 0, -np.inf, 0.0)
    found: Floats = np.minimum(np.logaddexp(mixed, never) - at_limit - math.log(2), _MOST)
    return np.exp(found)


def upper_bound(bad: float, count: float, confidence: float) -> float:
    """Return the smallest share that is ruled out so far; valid at all times together."""
    low, high = float(bad / count) if count else 0.0, 1.0
    while high - low > max(1e-6, high * 1e-3):
        middle = (low + high) / 2
        ruled_out = in_favour(bad, count, middle) >= 1 / (1 - confidence)
        low, high = (low, middle) if ruled_out else (middle, high)
    return high


def samples_needed(share: float, limit: float, confidence: float) -> float | None:
    """Return how many independent samples with this ``share`` of bad ones are enough; None: no number is."""

    def enough(count: float) -> bool:
        return bool(in_favour(share * count, count, limit) >= 1 / (1 - confidence))

    if share >= limit:
        return None
    below, above = 0.0, 1.0
    while not enough(above):
        below, above = above, above * 2
        if above > _MOST_SAMPLES:
            return None
    while above - below > max(1.0, above * 1e-3):
        middle = (below + above) / 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return float(math.ceil(above))
