from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.pickers.base import PICKERS, Cutoff
from dprune_cli.pickers.stratified import Stratified, bin_values, share_budget


def slow_budgets(sizes, count):
    """Algorithm 1 of the paper, the smallest remaining bin at a time."""
    left = dict(enumerate(sizes))
    budgets = {}
    while left:
        place = min(left, key=lambda place: (left[place], place))
        budgets[place] = min(left[place], (count - sum(budgets.values())) // len(left))
        del left[place]
    return [budgets[place] for place in range(len(sizes))]


def test_budgets_against_the_paper():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(0, rng.integers(1, 30), rng.integers(1, 9)).tolist()
        count = int(rng.integers(0, sum(sizes) + 1))
        found = share_budget(sizes, count)
        assert found == slow_budgets(sizes, count)
        assert sum(found) == count
        # Bins that are not kept whole are at most 1 apart, and no smaller bin gets more.
        cut = [budget for budget, size in zip(found, sizes, strict=True) if budget < size]
        assert not cut or max(cut) - min(cut) <= 1


def test_budgets_by_hand():
    # 7 over 4 bins: 1 -> min(1, 7//4) = 1; 2 -> min(2, 6//3) = 2; 6 -> min(6, 4//2) = 2; 9 -> 2.
    assert share_budget([6, 9, 1, 2], 7) == [2, 2, 1, 2]
    # What does not divide goes to the larger bins, of equal ones to the higher.
    assert share_budget([5, 5, 5, 6], 10) == [2, 2, 3, 3]
    assert share_budget([0, 5, 0, 0, 3, 0], 4) == [0, 2, 0, 0, 2, 0]
    assert share_budget([3, 4], 7) == [3, 4] and share_budget([3, 4], 0) == [0, 0]


def test_empty_bins_make_no_difference():
    rng = np.random.default_rng(1)
    for _ in range(100):
        sizes = rng.integers(1, 20, 5).tolist()
        count = int(rng.integers(0, sum(sizes) + 1))
        spread = [size for own in sizes for size in (0, own, 0)]
        assert share_budget(spread, count)[1::3] == share_budget(sizes, count)


@pytest.mark.parametrize(
    ("values", "bins", "numbers"),
    [
        ([0, 0.24, 0.25, 0.5, 0.99, 1], 4, [0, 0, 1, 2, 3, 3]),  # the maximum is in the last bin
        ([-1, -0.5, 0], 2, [0, 1, 1]),
        ([-8, -7.9, -7], 10, [0, 0, 9]),  # max * 1.0001 would lie below the maximum
        ([2, 2, 2], 50, [0, 0, 0]),
        ([-np.inf, 1, 2, 3, np.inf], 2, [0, 0, 1, 1, 1]),
        ([-np.inf, 7, 7, np.inf], 3, [0, 0, 0, 2]),
        ([np.inf, -np.inf], 4, [3, 0]),
        ([-1.7e308, 0, 1.7e308], 4, [0, 2, 3]),
        ([0, 5e-324, 1e-323], 2, [0, 1, 1]),
        ([], 5, []),
        ([3, 9], 1, [0, 0]),
    ],
)
def test_bins_by_hand(values, bins, numbers):
    assert bin_values(np.array(values, float), bins).tolist() == numbers


@pytest.mark.parametrize("bins", [1, 3, 50, 300, 70_000])
def test_bins_against_a_histogram(bins):
    values = np.random.default_rng(2).exponential(size=3000) - 5
    counts = np.histogram(values, bins)[0]
    assert np.bincount(bin_values(values, bins), minlength=bins).tolist() == counts.tolist()


def test_a_bin_keeps_its_smallest_hashes():
    values = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0, 0.05])
    hashes = np.array([70, 60, 50, 40, 30, 20, 10], np.uint64)
    picker = Stratified(bins=2)
    # Bins of 5 and 2: for 4 they give 2 and 2, for 5 they give 3 and 2, for 2 they give 1 and 1.
    for count, rows in ((2, [5, 6]), (4, [3, 4, 5, 6]), (5, [2, 3, 4, 5, 6])):
        assert picker.pick(values, count, lambda rows: hashes[rows], 7).tolist() == rows


def test_sparse_and_dense_bins_are_covered_alike():
    rng = np.random.default_rng(3)
    values = np.sort(rng.exponential(size=5000))
    hashes = rng.integers(0, 2**64, 5000, np.uint64)
    chosen = Stratified(bins=20).pick(values, 500, lambda rows: hashes[rows], 5000)
    sizes, kept = (Counter(bin_values(values, 20)[rows].tolist()) for rows in (slice(None), chosen))
    assert [kept[place] for place in range(20)] == share_budget([sizes[place] for place in range(20)], 500)
    tail = {place for place in sizes if sizes[place] <= 10}
    assert len(tail) == 5 and all(kept[place] == sizes[place] for place in tail)


def test_within_a_bin_every_sample_is_as_likely():
    rng = np.random.default_rng(4)
    values = np.array([0.0] * 3 + [1.0] * 7)
    seen = np.zeros(10)
    for _ in range(4000):
        hashes = rng.integers(0, 2**64, 10, np.uint64)
        seen[Stratified(bins=3).pick(values, 4, lambda rows, own=hashes: own[rows], 10)] += 1
    expected = 4000 * np.array([2 / 3] * 3 + [2 / 7] * 7)
    # Five standard deviations of a binomial.
    assert (np.abs(seen - expected) < 5 * np.sqrt(expected * (1 - expected / 4000))).all()


def test_parameters():
    assert Stratified().leave_out() is None
    made = PICKERS.make("stratified:bins=7,cutoff=0.3,cutoff_by=margin,cutoff_end=high")
    assert made.leave_out() == Cutoff(0.3, "margin", "high") and made.bins == 7
    assert PICKERS.make("stratified:cutoff=0.5").leave_out() == Cutoff(0.5, "aum", None)
    for wrong in ("cutoff=1", "cutoff=1.5", "cutoff=-0.1", "cutoff=nan", "cutoff=inf"):
        with pytest.raises(UsageError, match=r"stratified:cutoff=.* is no share"):
            PICKERS.make(f"stratified:{wrong}")
    for wrong in ("bins=0", "bins=-3", "bins=1000001"):
        with pytest.raises(UsageError, match=r"stratified:bins=.* is not between 1 and 1000000"):
            PICKERS.make(f"stratified:{wrong}")
    for wrong in ("bins=2.5", "cutoff=many", "cutoff_end=middle"):
        with pytest.raises(UsageError, match="stratified:"):
            PICKERS.make(f"stratified:{wrong}")
