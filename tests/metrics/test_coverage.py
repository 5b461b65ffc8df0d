from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.metrics.coverage import correlate, count_strata, cover, sort_strata


def test_coverage_by_hand():
    stratum = [0] * 6 + [1] * 3 + [3] * 2 + [4]
    keep = [1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    found = cover(stratum, np.array(keep, bool), 6)
    assert found.available.tolist() == [6, 3, 0, 2, 1, 0]
    assert found.kept.tolist() == [3, 1, 0, 0, 1, 0]
    np.testing.assert_allclose(found.density, [0.5, 1 / 3, np.nan, 0, 1, np.nan])
    assert (found.smallest, found.empty) == (3, [3])


def test_smallest_of_equals_is_the_lowest_id():
    assert cover([0, 0, 1, 1, 2, 2], [1, 1, 1, 0, 1, 0], 3).smallest == 1


def test_coverage_of_nothing():
    found = cover([], [], 2)
    assert (found.smallest, found.empty) == (None, [])


def test_correlation_is_pearson_over_what_is_known():
    rng = np.random.default_rng(0)
    density, recall = rng.random((2, 20))
    density[3], recall[7] = np.nan, np.nan
    known = ~(np.isnan(density) | np.isnan(recall))
    assert correlate(density, recall) == pytest.approx(np.corrcoef(density[known], recall[known])[0, 1])


@pytest.mark.parametrize(
    ("density", "recall"),
    [
        ([0.3, 0.3, 0.3], [0.1, 0.5, 0.9]),
        ([0.1, 0.2, 0.3], [0.7, 0.7, 0.7]),
        ([0.1, np.nan], [0.2, 0.3]),
        ([], []),
        ([0.0, 0.0], [0.2, 0.3]),
    ],
)
def test_undefined_correlation_is_none(density, recall):
    assert correlate(density, recall) is None


def test_a_constant_that_is_not_exact_is_still_constant():
    assert correlate([0.1 + 0.2, 0.3, 0.3], [0.1, 0.5, 0.9]) is None


@pytest.mark.parametrize("strata", [1, 3, 300])
@pytest.mark.parametrize("rows", [0, 1, 63, 64, 1000])
def test_samples_by_stratum(monkeypatch, strata, rows):
    monkeypatch.setattr("dprune_cli.metrics.ranking._BLOCK", 64)
    rng = np.random.default_rng(rows)
    among = rng.random(rows) < 0.8
    stratum = np.where(among, rng.integers(0, strata, rows), rng.integers(-9, 500, rows)).astype(np.int16)
    order, edges = sort_strata(stratum, strata, among)
    for number in range(strata):
        own = np.flatnonzero(among & (stratum == number))
        assert order[edges[number] : edges[number + 1]].tolist() == own.tolist()
    assert count_strata(stratum, strata, among).tolist() == np.diff(edges).tolist()
    keep = among & (rng.random(rows) < 0.5)
    found = cover(stratum, keep, strata, among)
    assert found.available.tolist() == np.diff(edges).tolist()
    assert found.kept.tolist() == np.bincount(stratum[keep], minlength=strata).tolist()
