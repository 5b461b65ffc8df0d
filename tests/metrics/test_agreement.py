"""Rank correlation and overlap, against numbers reckoned by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dprune_cli.metrics.agreement import average_ranks, overlaps, rank_correlations, spearman


def test_ties_share_the_mean_of_their_ranks():
    assert average_ranks([5, 1, 5, 5, 2]).tolist() == [4, 1, 4, 4, 2]


def test_a_correlation_with_ties_and_missing_values():
    # Without the rows that lack a value: ranks 1, 2.5, 2.5, 4 and 2, 1, 3.5, 3.5. Their deviations are
    # -1.5, 0, 0, 1.5 and -0.5, -1.5, 1, 1: a product of 2.25, sums of squares of 4.5 and 4.5.
    first = [1, 2, 2, 3, np.nan, 9]
    second = [10, 5, 20, 20, 7, np.nan]
    assert spearman(first, second) == pytest.approx(2.25 / 4.5)


def test_it_is_scipys_on_random_values_with_ties():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 200), rng.integers(0, 9, 200) + rng.integers(0, 9, 200)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 1, 1], [1, 2, 3]), ([np.nan] * 3, [1, 2, 3]), ([1, np.nan], [np.nan, 2]), ([], [])],
)
def test_it_is_undefined_without_two_different_values(first, second):
    assert spearman(first, second) is None


def test_infinite_values_have_a_rank():
    assert spearman([1, 2, np.inf], [-np.inf, 0, 1]) == pytest.approx(1)


def test_all_pairs_are_symmetric_and_nan_where_undefined():
    found = rank_correlations([np.array([1.0, 2, 3]), np.array([3.0, 2, 1]), np.array([np.nan] * 3)])
    assert found[:2, :2].tolist() == [[1, -1], [-1, 1]]
    assert np.isnan(found[2]).all() and np.isnan(found[:, 2]).all()


def test_overlap_is_the_share_of_the_first_set():
    sets = [np.array(one, bool) for one in ([1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0])]
    found = overlaps(sets)
    assert found[:2].tolist() == [[1, 1 / 3, 0], [1, 1, 0]]
    assert np.isnan(found[2]).all()
