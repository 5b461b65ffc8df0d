"""Which samples come first: exact cuts through a ranking, in linear time.

Equal values at a cut are told apart by the seeded hashes of the sample keys, the smallest first, so the
result does not depend on the order in which the samples were read. Hashing is left to a callable, which
is asked only about the samples tied at the cut: most rankings have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import End

# Rows at a time, where what is computed of all of them at once would take more memory than they do.
_BLOCK = 1 << 17
# Bits of a hash that say which of many equal ranges it is in.
_RANGE_BITS = 16

Tie = Callable[[NDArray[Any]], NDArray[np.uint64]]
"""Row numbers to the seeded hashes of their keys, both (R,)."""


def blocks(count: int) -> Iterator[slice]:
    """0 to `count` in slices of some 100,000.

    >>> [(own.start, own.stop) for own in blocks(131073)]
    [(0, 131072), (131072, 131073)]
    """
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def positions(mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Where (N,) `mask` is true, ascending, in 32 bits where they suffice.

    >>> positions(np.array([False, True, True])).tolist()
    [1, 2]
    """
    found = np.empty(np.count_nonzero(mask), _row_type(len(mask)))
    count = 0
    for own in blocks(len(mask)):
        here = np.flatnonzero(mask[own])
        found[count : count + len(here)] = here + own.start
        count += len(here)
    return found


def choose(values: NDArray[np.floating[Any]], count: int, tie: Tie, end: End = "high") -> NDArray[np.int64]:
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
    if end == "middle":
        below = (len(values) - count) // 2
        reached = _at_end(values, below + count, tie, low=True)
        return np.flatnonzero(reached & ~_at_end(values, below, tie, low=True))
    return np.flatnonzero(_at_end(values, count, tie, low=end == "low"))


def first_hashes(rows: NDArray[Any] | range, count: int, tie: Tie) -> NDArray[Any]:
    """The `count` of `rows` with the smallest hashes, ascending: a seeded random choice.

    Args:
        rows: (R,) numbers, or the range from 0 on, which takes no memory.
        count: 0 to R.
        tie: rows to their hashes; asked for some 100,000 at a time, and then twice, where there are more.

    >>> first_hashes(np.array([4, 7, 9]), 2, lambda rows: np.array([30, 10, 20], np.uint64)).tolist()
    [7, 9]
    """
    if not 0 <= count <= len(rows):
        raise ValueError(f"{count} of {len(rows)} samples")
    if count in (0, len(rows)):
        return np.sort(_part(rows, slice(0, count)))
    if len(rows) > _BLOCK:
        sure, rows = _by_ranges(rows, count, tie)
    else:
        sure, rows = np.empty(0, np.uint32), _part(rows, slice(0, len(rows)))
    rest = count - len(sure)
    found = np.concatenate([sure, rows[np.argpartition(tie(rows), rest - 1)[:rest]]])
    found.sort()
    return found


def _part(rows: NDArray[Any] | range, own: slice) -> NDArray[Any]:
    if not isinstance(rows, range):
        return rows[own]
    return np.arange(own.start, own.stop, dtype=_row_type(len(rows)))


def _row_type(count: int) -> type[np.unsignedinteger[Any] | np.signedinteger[Any]]:
    """The type of numbers of `count` rows: 32 bits where they suffice."""
    return np.uint32 if count <= 1 << 32 else np.int64


def _by_ranges(rows: NDArray[Any] | range, count: int, tie: Tie) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows that are surely among the `count` of smallest hashes, and those that the others are among.

    Of even hashes the latter are few. At no time are the hashes of all rows needed.
    """

    def ranges(here: NDArray[Any]) -> NDArray[np.int64]:
        return (tie(here) >> np.uint64(64 - _RANGE_BITS)).astype(np.int64)

    sizes = np.zeros(1 << _RANGE_BITS, np.int64)
    for own in blocks(len(rows)):
        sizes += np.bincount(ranges(_part(rows, own)), minlength=len(sizes))
    last = int(np.searchsorted(np.cumsum(sizes), count))
    sure, rest = [], []
    for own in blocks(len(rows)):
        here = _part(rows, own)
        found = ranges(here)
        sure.append(here[found < last])
        rest.append(here[found == last])
    return np.concatenate(sure), np.concatenate(rest)


def _at_end(values: NDArray[np.floating[Any]], count: int, tie: Tie, *, low: bool) -> NDArray[np.bool_]:
    """(N,) the `count` lowest or highest values; equal ones by the smallest hashes."""
    if count in (0, len(values)):
        return np.full(len(values), count > 0)
    place = count - 1 if low else len(values) - count
    cut = np.partition(values, place)[place]
    chosen = values < cut if low else values > cut
    tied = positions(values == cut)
    chosen[first_hashes(tied, count - int(np.count_nonzero(chosen)), tie)] = True
    return chosen
