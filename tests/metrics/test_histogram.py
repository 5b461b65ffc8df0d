"""Histograms over common bins."""

from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.metrics.histogram import compare_spread


def test_every_finite_value_is_in_one_bin():
    values = np.array([0.0, 0.25, 0.5, 1.0, np.nan, np.inf], np.float32)
    found = compare_spread(values, np.array([1, 0, 0, 1, 1, 1], bool), bins=4)
    assert found.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.everything.tolist() == [1, 1, 1, 1] and found.chosen.tolist() == [1, 0, 0, 1]
    assert found.unknown == 2


def test_counts_get_a_bin_each():
    found = compare_spread(np.array([0, 2, 2]), np.array([True, False, True]))
    assert found.edges.tolist() == [-0.5, 0.5, 1.5, 2.5] and found.everything.tolist() == [1, 0, 2]


def test_counts_get_a_bin_each_only_if_there_are_enough_bins():
    everything = np.ones(5, bool)
    assert compare_spread(np.arange(5.0), everything, bins=5).edges.tolist() == [
        -0.5,
        0.5,
        1.5,
        2.5,
        3.5,
        4.5,
    ]
    assert compare_spread(np.arange(5.0), everything, bins=4).edges.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [0.3, -7.25, 0.0, 1e300, 1e-300, 7.0])
def test_equal_values_are_in_one_bin(value):
    found = compare_spread(np.full(3, value), np.ones(3, bool))
    assert found.everything.sum() == 3 and (np.diff(found.edges) > 0).all()


def test_neighbours_that_nothing_lies_between():
    values = np.array([1.0, np.nextafter(1.0, 2.0)])
    assert compare_spread(values, np.ones(2, bool)).everything.sum() == 2


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_nothing_without_a_finite_value(values):
    assert compare_spread(np.array(values), np.ones(len(values), bool)) is None


def test_more_rows_than_a_block():
    values = np.arange(300_000) % 3
    assert compare_spread(values, values == 1).chosen.tolist() == [0, 100_000, 0]


def test_the_range_of_the_largest_numbers():
    values = np.array([-1.7e308, 0.1, 1.7e308])
    found = compare_spread(values, np.ones(3, bool), bins=3)
    assert found.everything.tolist() == [1, 1, 1] and np.isfinite(found.edges).all()
