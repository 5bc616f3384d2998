"""How latencies are distributed: histograms with bins of equal ratio, and the quantiles far out."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from harness.documents.shown import Distribution
from harness.judge.samples import Samples

#: Bins for each factor of ten.
BINS_A_DECADE: Final = 12

_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99, 0.999)


def distribution(metric: str, samples: Samples) -> Distribution:
    """Return the distribution of the samples of a latency metric, of which there must be some.

    ``bins`` are ``[from, to, count]`` in seconds, empty ones left out; ``never`` counts what never
    arrived. The share of samples beyond each quantile can be read off ``quantiles``.
    """
    values = np.sort(samples.values.astype(np.float64))
    known = values[np.isfinite(values)]
    # Below a hundredth of a millisecond there is nothing to see; such samples go into the first bin.
    places = np.floor(np.log10(np.maximum(known, 1e-4)) * BINS_A_DECADE).astype(np.int64)
    found, counts = np.unique(places, return_counts=True)
    return Distribution(
        metric=metric,
        samples=len(values),
        never=len(values) - len(known),
        bins=tuple(
            (_edge(place), _edge(place + 1), int(count)) for place, count in zip(found, counts, strict=True)
        ),
        quantiles={
            f"p{q * 100:g}": _number(float(np.quantile(values, q, method="inverted_cdf"))) for q in _QUANTILES
        },
        longest=_number(float(values[-1])),
    )


def _edge(place: int) -> float:
    return float(f"{10 ** (place / BINS_A_DECADE):.6g}")


def _number(value: float) -> float | None:
    return None if math.isinf(value) else value
