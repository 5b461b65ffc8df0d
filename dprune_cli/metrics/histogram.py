"""How values are spread, of all samples and of some of them, over the same bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.metrics.ranking import blocks

# Whole numbers above it are not counts of anything.
_LARGEST_COUNT = 2**31


@dataclass(frozen=True)
class Histogram:
    """Counts over B bins.

    Attributes:
        edges: (B + 1,) ascending.
        everything: (B,) samples of each bin.
        chosen: (B,) those of them that were chosen.
        unknown: samples without a finite value, which are in no bin.
    """

    edges: NDArray[np.float64]
    everything: NDArray[np.int64]
    chosen: NDArray[np.int64]
    unknown: int


def compare_spread(
    values: NDArray[np.floating[Any]], chosen: NDArray[np.bool_], bins: int = 40
) -> Histogram | None:
    """Histograms of all samples and of the chosen ones; None where no value is finite.

    Whole numbers of a small range, such as counts, get a bin each.

    Args:
        values: (N,) NaN where there is none.
        chosen: (N,) the samples of the second histogram.
        bins: most bins.

    >>> found = compare_spread(np.array([0.0, 1.0, 1.0, np.nan]), np.array([True, False, True, True]))
    >>> found.edges.tolist(), found.everything.tolist(), found.chosen.tolist(), found.unknown
    ([-0.5, 0.5, 1.5], [1, 2], [1, 1], 1)
    """
    finite = np.isfinite(values)
    known = int(np.count_nonzero(finite))
    if not known:
        return None
    parts = [values[own][finite[own]] for own in blocks(len(values))]
    low = min(float(part.min()) for part in parts if len(part))
    high = max(float(part.max()) for part in parts if len(part))
    edges = _edges(low, high, bins, whole=_are_whole(parts))
    counts = np.zeros((2, len(edges) - 1), np.int64)
    for own in blocks(len(values)):
        here = finite[own]
        counts[0] += np.histogram(values[own][here], edges)[0]
        counts[1] += np.histogram(values[own][here & chosen[own]], edges)[0]
    return Histogram(edges, counts[0], counts[1], len(values) - known)


def _are_whole(parts: Sequence[NDArray[Any]]) -> bool:
    return all(bool(((np.floor(part) == part) & (np.abs(part) < _LARGEST_COUNT)).all()) for part in parts)


def _edges(low: float, high: float, bins: int, *, whole: bool) -> NDArray[np.float64]:
    """Edges of bins that hold all values from `low` to `high`."""
    if whole and high - low < bins:
        return np.arange(low, high + 2) - 0.5
    # Halves, because the range of the largest numbers is no number any more.
    edges = 2 * np.linspace(low / 2, high / 2, bins + 1)
    if (np.diff(edges) > 0).all():
        return edges
    # All values are the same, or so near one another that no number lies between them.
    margin = max(abs(low), abs(high), 1.0) / 4
    return np.array([low - margin, high + margin])
