"""CCS: every stretch of the score's range is covered, after the hardest samples were cut off.

Zheng, Liu, Lai, Prakash, "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023,
algorithm 1, https://arxiv.org/abs/2210.15809.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.coverage import sort_strata
from dprune_cli.metrics.ranking import Tie, blocks, first_hashes
from dprune_cli.pickers.base import Cutoff, HardEnd, Picker, register

MOST_BINS = 1_000_000


@register
@dataclass(frozen=True, kw_only=True)
class Stratified(Picker):
    """Bins of equal width over [min, max] of the column share the budget; uniformly random within a bin.

    Bins are visited by increasing size, and each gets min(size, what is left // bins not yet visited), so
    small bins are kept whole and the others share the rest evenly, at most 1 apart. Before that, the share
    `cutoff` of the hardest candidates by the column `cutoff_by` is left out. As in the paper, with its open
    points settled: the last bin holds the maximum (the authors' code stretches the range by a factor
    instead, which loses samples of negative scores), bins of equal size are visited from the low end,
    and the cutoff is by AUM, as in the authors' code, whatever the bins are of. Departs from the paper
    where the table has quotas: bins and cutoff are then those of every class or group.

    Infinite values count to the first and the last bin; the range is that of the others. Where all values
    are equal there is one bin, and the choice is that of `random`. A candidate without a value in
    `cutoff_by` is not cut, and does not count in the share.

    Attributes:
        bins: how many, 1 to 1,000,000; the paper uses 50.
        cutoff: share to leave out, from 0 up to but not including 1; the paper's beta, which grows with
            the share that is pruned (in the authors' examples 0.3 at 90 %).
        cutoff_by: column that says how hard a sample is.
        cutoff_end: `high` or `low`, the hard end of that column; by default what its metadata say.
    """

    info = MethodInfo(
        name="stratified", title="Coverage-centric (CCS)", paper="https://arxiv.org/abs/2210.15809"
    )
    needs_values: ClassVar[bool] = True
    bins: int = 50
    cutoff: float = 0.0
    cutoff_by: str = "aum"
    cutoff_end: HardEnd | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.bins <= MOST_BINS:
            raise UsageError(f"stratified:bins={self.bins} is not between 1 and {MOST_BINS}")
        if not 0 <= self.cutoff < 1:
            raise UsageError(f"stratified:cutoff={self.cutoff} is no share of at least 0 and below 1")

    def leave_out(self) -> Cutoff | None:
        """The hard cutoff."""
        return Cutoff(self.cutoff, self.cutoff_by, self.cutoff_end) if self.cutoff else None

    def pick(
        self, values: NDArray[np.floating[Any]] | None, count: int, tie: Tie, m: int
    ) -> NDArray[np.int64]:
        """See `Picker.pick`.

        >>> hashes = lambda rows: rows.astype(np.uint64)
        >>> Stratified(bins=2).pick(np.array([0.0, 0.1, 0.2, 0.3, 1.0]), 3, hashes, 5).tolist()
        [0, 1, 4]
        """
        if values is None:
            raise ValueError("strata are of values")
        if count in (0, m):
            return np.arange(count, dtype=np.int64)
        order, edges = sort_strata(bin_values(values, self.bins), self.bins, np.ones(m, bool))
        strata = [rows for rows in np.split(order, edges[1:-1]) if len(rows)]
        budgets = share_budget([len(rows) for rows in strata], count)
        chosen = [first_hashes(rows, own, tie) for rows, own in zip(strata, budgets, strict=True)]
        return np.sort(np.concatenate(chosen)).astype(np.int64)


def bin_values(values: NDArray[np.floating[Any]], bins: int) -> NDArray[Any]:
    """(m,) numbers of the equal-width bins over the range of the finite values, 0 to `bins` - 1.

    >>> bin_values(np.array([-4.0, -3.1, -3.0, -2.0, -np.inf, np.inf]), 2).tolist()
    [0, 0, 1, 1, 0, 1]
    """
    finite = np.isfinite(values)
    low, high = 0.0, 0.0
    if finite.any():
        low = float(values.min(where=finite, initial=np.inf))
        high = float(values.max(where=finite, initial=-np.inf))
    # Scaled by a power of two, which is exact, so that the width of the widest range is finite.
    exponent = -int(np.frexp(max(abs(low), abs(high)))[1])
    start, end = np.ldexp([low, high], exponent)
    width = end - start
    number = np.empty(len(values), np.min_scalar_type(bins - 1))
    for own in blocks(len(values)):
        place = np.ldexp(values[own].astype(np.float64), exponent) - start
        share = place / width if width > 0 else np.where(place > 0, np.inf, 0.0)
        number[own] = np.clip(np.floor(share * bins), 0, bins - 1)
    return number


def share_budget(sizes: list[int], count: int) -> list[int]:
    """How many of each bin, `count` in all: the smallest first, each min(size, rest // bins left).

    Empty bins make no difference: they come first and take nothing. A bin that is not kept whole is
    larger than an even share of the rest, and so are all after it, so nothing is left over in the end.

    Args:
        sizes: of the bins; of equal ones the earlier comes first.
        count: at most their sum.

    >>> share_budget([5, 1, 9, 0, 2], 10), share_budget([4, 4, 4], 5)
    ([3, 1, 4, 0, 2], [1, 2, 2])
    """
    budgets = [0] * len(sizes)
    rest = count
    for visited, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        budgets[place] = min(sizes[place], rest // (len(sizes) - visited))
        rest -= budgets[place]
    return budgets
