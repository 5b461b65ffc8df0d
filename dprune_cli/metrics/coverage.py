"""What a selection leaves of every class or group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dprune_cli.metrics.ranking import blocks


@dataclass(frozen=True)
class Coverage:
    """Samples of every stratum before and after.

    Attributes:
        available: (S,) samples that could be kept.
        kept: (S,) samples that are kept.
    """

    available: NDArray[np.int64]
    kept: NDArray[np.int64]

    @property
    def density(self) -> NDArray[np.float64]:
        """(S,) kept / available in [0, 1]; NaN for a stratum that had nothing to keep."""
        result = np.full(self.available.shape, np.nan)
        np.divide(self.kept, self.available, out=result, where=self.available > 0)
        return result

    @property
    def smallest(self) -> int | None:
        """The stratum with the fewest kept samples among those that had any; the lowest id of equals."""
        present = np.flatnonzero(self.available > 0)
        return int(present[np.argmin(self.kept[present])]) if len(present) else None

    @property
    def empty(self) -> list[int]:
        """Strata that had samples and keep none."""
        return np.flatnonzero((self.available > 0) & (self.kept == 0)).tolist()


def cover(stratum: ArrayLike, keep: ArrayLike, strata: int, among: ArrayLike | None = None) -> Coverage:
    """The coverage of a selection.

    Args:
        stratum: (N,) stratum ids of the samples, 0 to `strata` - 1.
        keep: (N,) whether each is kept.
        strata: how many strata there are.
        among: (N,) whether each could be kept; None for all. The ids of the others are not looked at.

    >>> found = cover([0, 0, 1, 1, 1, 2], [1, 0, 1, 1, 1, 0], 4)
    >>> found.density.tolist(), found.smallest, found.empty
    ([0.5, 1.0, 0.0, nan], 2, [2])
    """
    ids = np.asarray(stratum)
    able = None if among is None else np.asarray(among, bool)
    return Coverage(count_strata(ids, strata, able), count_strata(ids, strata, np.asarray(keep, bool)))


def count_strata(
    stratum: NDArray[Any], strata: int, among: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """(S,) samples of every stratum.

    Args:
        stratum: (N,) integer ids, 0 to `strata` - 1.
        strata: S.
        among: (N,) samples to count; None counts all. The ids of the others are not looked at.
    """
    total = np.zeros(strata, np.int64)
    for own in blocks(len(stratum)):
        ids = stratum[own] if among is None or among[own].all() else stratum[own][among[own]]
        total += np.bincount(ids, minlength=strata)
    return total


def sort_strata(
    stratum: NDArray[Any], strata: int, among: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The samples by stratum, within one in their order.

    Args:
        stratum: (N,) integer ids, 0 to `strata` - 1; those of samples that are not `among` may be any.
        strata: S.
        among: (N,) samples that are wanted.

    Returns:
        (M,) numbers of the wanted samples, in 32 bits where they suffice, and (S + 1,) where every stratum
        begins among them.

    >>> order, edges = sort_strata(np.array([2, 0, -1, 0]), 3, np.array([True, True, False, True]))
    >>> order.tolist(), edges.tolist()
    ([1, 3, 0], [0, 2, 2, 3])
    """
    edges = np.cumsum([0, *count_strata(stratum, strata, among)])
    order = np.empty(edges[-1], np.uint32 if len(stratum) < 1 << 32 else np.int64)
    place, narrow = edges[:-1].copy(), np.min_scalar_type(strata)
    for own in blocks(len(stratum)):
        rows = np.flatnonzero(among[own])
        ids = stratum[own] if len(rows) == own.stop - own.start else stratum[own][rows]
        # NumPy's stable sort of narrow integers is a radix sort.
        by_stratum = np.argsort(ids.astype(narrow, copy=False), kind="stable")
        counts = np.bincount(ids, minlength=strata)
        begins = np.cumsum(counts) - counts
        order[np.repeat(place - begins, counts) + np.arange(len(ids))] = rows[by_stratum] + own.start
        place += counts
    return order, edges


def correlate(first: ArrayLike, second: ArrayLike) -> float | None:
    """Pearson correlation of two series over the places where both are known, in [-1, 1].

    Of density with recall it is negative where a selection is fair, as with DRoP: it keeps more of what
    is hard. None where it is undefined: fewer than two places, or one of the two is constant.

    Args:
        first: (N,) values, NaN where there is none.
        second: (N,) the same.

    >>> correlate([0.2, 0.4, 0.9], [0.9, 0.8, 0.55]), correlate([0.3, 0.3], [0.9, 0.1])
    (-1.0, None)
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = ~(np.isnan(one) | np.isnan(other))
    one, other = one[known], other[known]
    # The spread is compared with the size of the numbers, because the mean of equal numbers may differ
    # from them in the last bit and would turn a constant into noise.
    if len(one) < 2 or any(np.ptp(values) <= 1e-12 * np.abs(values).max() for values in (one, other)):
        return None
    one, other = one - one.mean(), other - other.mean()
    value = float(one @ other / np.sqrt((one @ one) * (other @ other)))
    return round(min(1.0, max(-1.0, value)), 12)
