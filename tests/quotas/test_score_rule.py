from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.quotas.base import QUOTAS, quotas_for
from dprune_cli.quotas.score import Score

# Class 0 has the four values, class 1 three, class 2 one.
VALUES = [9, 1, 5, 4, 8, 7, 2, 6]


@pytest.mark.parametrize(
    ("end", "counts"),
    [("high", [1, 2, 1]), ("low", [3, 1, 0]), ("middle", [2, 1, 1])],  # 9 8 7 6 | 1 2 4 5 | 4 5 6 7
)
def test_counts_of_a_global_cut(make_given, end, counts):
    given = make_given([4, 3, 1], 4, columns={"el2n": VALUES})
    assert quotas_for(Score(by="el2n", end=end), given).quotas.tolist() == counts


def test_the_end_comes_from_the_metadata_unless_given(make_given):
    given = make_given([4, 3, 1], 4, columns={"aum": VALUES}, ends={"aum": "low"})
    assert quotas_for(Score(by="aum"), given).quotas.tolist() == [3, 1, 0]
    assert quotas_for(Score(by="aum", end="high"), given).quotas.tolist() == [1, 2, 1]


def test_an_unknown_end_is_asked_for(make_given):
    with pytest.raises(UsageError, match="give score:by=mine,end=high or end=low"):
        quotas_for(Score(by="mine"), make_given([4, 3, 1], 4, columns={"mine": VALUES}))


def test_nulls_are_never_counted(make_given):
    values = [9, np.nan, 5, np.nan, np.nan, 7, 2, 6]
    given = make_given([4, 3, 1], 4, columns={"el2n": values})
    assert quotas_for(Score(by="el2n", end="high"), given).quotas.tolist() == [2, 1, 1]  # 9 7 6 5
    assert quotas_for(Score(by="el2n", end="low"), given).quotas.tolist() == [1, 2, 1]  # 2 5 6 7
    with pytest.raises(BudgetError, match="6 samples are to be kept, but column 'el2n' has 5 values"):
        quotas_for(Score(by="el2n", end="low"), make_given([4, 3, 1], 6, columns={"el2n": values}))


def test_ties_go_by_key_hash(make_given):
    # All equal, so the four smallest hashes count: rows 0 1 4 5, and 4 5 6 7 where 0 and 1 are null.
    hashes = [0, 1, 9, 8, 2, 3, 4, 5]
    columns = {"flat": [1] * 8, "holes": [np.nan, np.nan, 1, 1, 1, 1, 1, 1]}
    given = make_given([4, 3, 1], 4, columns=columns, hashes=hashes)
    assert quotas_for(Score(by="flat", end="high"), given).quotas.tolist() == [2, 2, 0]
    assert quotas_for(Score(by="holes", end="high"), given).quotas.tolist() == [0, 3, 1]


def test_counts_are_reproduced_exactly_at_any_budget(make_given):
    rng = np.random.default_rng(0)
    sizes = np.array([70, 20, 0, 9, 1])
    values, hashes = rng.integers(0, 12, 100), rng.permutation(100)
    stratum = np.repeat(np.arange(5), sizes)
    order = np.lexsort((hashes, -values))
    for total in range(1, 101):
        given = make_given(sizes, total, columns={"x": values}, hashes=hashes)
        expected = np.bincount(stratum[order[:total]], minlength=5)
        assert quotas_for(Score(by="x", end="high"), given).quotas.tolist() == expected.tolist()


def test_a_column_must_be_named_and_be_there(make_given):
    with pytest.raises(UsageError, match="quota method score needs by"):
        QUOTAS.make("score")
    with pytest.raises(DataError, match="no column 'nope'"):
        quotas_for(Score(by="nope", end="high"), make_given([4], 2))
