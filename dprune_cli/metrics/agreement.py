"""How far several scores agree: on the order of the samples, and on which of them are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dprune_cli.metrics.coverage import correlate


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """(N,) ranks from 1 on; equal values share the mean of their ranks.

    Args:
        values: (N,) without NaN.

    >>> average_ranks([30, 10, 10, 20]).tolist()
    [4.0, 1.5, 1.5, 3.0]
    """
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation over the samples of which both values are known, in [-1, 1].

    None where it is undefined: fewer than two such samples, or one of the two is constant over them.

    Args:
        first: (N,) values, NaN where there is none.
        second: (N,) the same.

    >>> spearman([1, 2, 3, 4, np.nan], [1, 3, 2, 4, 0])
    0.8
    """
    one, other = np.asarray(first), np.asarray(second)
    known = ~(np.isnan(one) | np.isnan(other))
    if not known.any():
        return None
    return correlate(average_ranks(one[known]), average_ranks(other[known]))


def rank_correlations(columns: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """(K, K) `spearman` of every two of K columns (N,); NaN where it is undefined."""
    result = np.full((len(columns), len(columns)), np.nan)
    for row, one in enumerate(columns):
        for column, other in enumerate(columns[: row + 1]):
            found = spearman(one, other)
            result[row, column] = result[column, row] = np.nan if found is None else found
    return result


def overlaps(sets: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """(K, K) share of the first set that is also in the second, in [0, 1]; NaN for an empty set.

    Args:
        sets: K sets, each as (N,) whether a sample is in it.

    >>> overlaps([np.array([True, True, False]), np.array([False, True, False])]).tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """
    result = np.full((len(sets), len(sets)), np.nan)
    for row, one in enumerate(sets):
        size = int(np.count_nonzero(one))
        for column, other in enumerate(sets):
            if size:
                result[row, column] = np.count_nonzero(one & other) / size
    return result
