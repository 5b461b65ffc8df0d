"""Which samples come first: exact cuts through a ranking, in linear time.

Equal values at a cut are told apart by the seeded hashes of the sample keys, the smallest first, so the
result does not depend on the order in which the samples were read. Hashing is left to a callable, which
is asked only about the samples tied at the cut: most rankings have none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import End

Tie = Callable[[NDArray[np.int64]], NDArray[np.uint64]]
"""Row numbers to the seeded hashes of their keys, both (R,)."""


def choose(values: NDArray[np.float64], count: int, tie: Tie, end: End = "high") -> NDArray[np.int64]:
    """Rows of the `count` samples at one end of the ranking, or in its middle.

    Args:
        values: (N,) finite or infinite, no NaN.
        count: 0 to N.
        tie: hashes that break ties; called only for rows tied at a cut.
        end: `high` largest, `low` smallest, `middle` those around the median rank: with M = N - count
            samples left over, floor(M / 2) are left out at the low end and the others at the high end.

    Returns:
        (count,) row numbers, ascending.

    Raises:
        ValueError: a value is NaN, or `count` is not between 0 and N.

    >>> values, tie = np.array([3.0, 1.0, 2.0, 2.0, 5.0]), lambda rows: rows.astype(np.uint64)
    >>> [choose(values, 3, tie, end).tolist() for end in ("high", "low", "middle")]
    [[0, 2, 4], [1, 2, 3], [0, 2, 3]]
    """
    if not 0 <= count <= len(values):
        raise ValueError(f"{count} of {len(values)} samples")
    if np.isnan(values).any():
        raise ValueError("NaN has no place in a ranking")
    if end == "high":
        return np.flatnonzero(_largest(values, count, tie))
    if end == "low":
        return np.flatnonzero(_largest(-values, count, tie))
    rest = np.flatnonzero(~_largest(-values, (len(values) - count) // 2, tie))
    return rest[_largest(-values[rest], count, lambda rows: tie(rest[rows]))]


def first_hashes(rows: NDArray[np.int64], count: int, tie: Tie) -> NDArray[np.int64]:
    """The `count` of `rows` with the smallest hashes, ascending: a seeded random choice.

    >>> first_hashes(np.array([4, 7, 9]), 2, lambda rows: np.array([30, 10, 20], np.uint64)).tolist()
    [7, 9]
    """
    if not 0 <= count <= len(rows):
        raise ValueError(f"{count} of {len(rows)} samples")
    if count == len(rows):
        return np.sort(rows)
    if count == 0:
        return rows[:0]
    return np.sort(rows[np.argpartition(tie(rows), count - 1)[:count]])


def _largest(values: NDArray[np.float64], count: int, tie: Tie) -> NDArray[np.bool_]:
    if count == 0:
        return np.zeros(len(values), bool)
    if count == len(values):
        return np.ones(len(values), bool)
    place = len(values) - count
    cut = np.partition(values, place)[place]
    chosen = values > cut
    tied = np.flatnonzero(values == cut)
    chosen[first_hashes(tied, count - int(np.count_nonzero(chosen)), tie)] = True
    return chosen
