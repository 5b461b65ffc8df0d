"""Where selections by rank cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toy_selection import LABELS, toy_selection, toy_table

from dprune_cli.stages.selection_cuts import find_cuts


def quotas(*numbers):
    return toy_table(quota=np.array(numbers)[LABELS])


def test_the_cut_is_the_last_kept_value():
    cuts = find_cuts(toy_selection())
    assert (cuts.column, cuts.by, cuts.values.tolist()) == ("grade", "data set", [3.5])
    assert cuts.distance[[3, 4, 7, 10, 11, 12]].tolist() == [0.5, 0.5, 3.5, 1.0, 0.0, 5.5]
    assert math.isnan(cuts.distance[13])  # it could not be kept


def test_the_low_end_and_the_middle():
    assert find_cuts(toy_selection(end="low")).values.tolist() == [2.5]
    # Of 13 the median is 3.0: three of 2.5, 3.0, 3.5 are the middle.
    middle = find_cuts(toy_selection("3", end="middle"))
    assert middle.values.tolist() == [2.5, 3.5]
    assert middle.distance[[2, 3, 4]].tolist() == [0.5, 0.5, 0.5]


def test_every_class_has_a_cut_of_its_own_and_one_that_is_kept_whole_has_none():
    cuts = find_cuts(toy_selection(None, table=quotas(3, 1, 1, 0)))
    assert (cuts.by, cuts.values.tolist()) == ("class", [3.5, 5.0])
    assert cuts.distance[[4, 5, 10, 11]].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert np.isnan(cuts.distance[12])


def test_quotas_that_are_ignored_make_no_cuts():
    assert find_cuts(toy_selection("6", table=quotas(3, 1, 1, 0), everywhere=True)).values.tolist() == [3.5]


def test_a_class_of_which_nothing_is_kept_has_no_cut():
    cuts = find_cuts(toy_selection(None, table=quotas(3, 0, 1, 0)))
    assert cuts.values.tolist() == [5.0] and np.isnan(cuts.distance[8:13]).all()


@pytest.mark.parametrize("options", [{"by": "random"}, {"pick": "weighted"}, {"pick": "stratified"}])
def test_other_pickers_do_not_cut(options):
    assert find_cuts(toy_selection(**options)) is None


def test_everything_may_be_kept():
    assert find_cuts(toy_selection("13")).values.tolist() == []
