from __future__ import annotations

import doctest
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "samples" / "drop_toy.py"


@pytest.fixture(scope="module")
def toy():
    spec = importlib.util.spec_from_file_location("drop_toy", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["drop_toy"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["drop_toy"]


def test_published_thresholds_and_risks(toy):
    threshold = toy.best_threshold(1.0)
    assert threshold == pytest.approx(-0.170045, abs=1e-6)
    assert toy.risks(threshold) == pytest.approx((0.048466, 0.120991), abs=1e-5)  # paper: 4.8 %, 12.1 %
    assert toy.minimax_threshold() == pytest.approx(-1 / 3)
    assert toy.risks(-1 / 3) == pytest.approx((0.091211, 0.091211), abs=1e-5)  # paper: 9.1 %


def test_best_threshold_against_a_grid(toy):
    grid = np.linspace(-2, 2, 40001)
    both = np.array([toy.risks(t) for t in grid])
    for ratio in (0.4, 0.5, 1.0, 2.5):
        average = (ratio * both[:, 0] + both[:, 1]) / (1 + ratio)
        assert toy.best_threshold(ratio) == pytest.approx(grid[average.argmin()], abs=1e-4)
    assert grid[both.max(axis=1).argmin()] == pytest.approx(toy.minimax_threshold(), abs=1e-4)


def test_drop_at_75_percent_lands_on_the_minimax_risk(toy):
    narrow, wide = toy.exact_drop_densities(0.75)
    assert (narrow, wide) == (0.5, 1.0)
    assert toy.best_threshold(narrow / wide) == pytest.approx(-1 / 3, abs=1e-9)


@pytest.mark.parametrize("density", [0.5, 0.25])
def test_drop_without_saturation(toy, density):
    narrow, wide = toy.exact_drop_densities(density)
    assert (narrow / (narrow + wide), wide / (narrow + wide)) == pytest.approx((0.2860, 0.7140), abs=1e-4)
    threshold = toy.best_threshold(narrow / wide)
    assert threshold == pytest.approx(-0.3900, abs=1e-4)
    assert toy.risks(threshold) == pytest.approx((0.1112, 0.0823), abs=1e-4)


def test_fitted_threshold_has_the_fewest_errors(toy):
    rng = np.random.default_rng(0)
    for _ in range(20):
        sample = toy.draw(rng, 30)
        cuts = np.concatenate([sample.point - 1e-9, sample.point + 1e-9, [toy.fit_threshold(sample)]])
        errors = [int(((sample.point > t) != (sample.label == 1)).sum()) for t in cuts]
        assert errors[-1] == min(errors)
    # By hand: a threshold between 1 and 2 makes no error.
    assert toy.fit_threshold(toy.Sample(np.array([2.0, 0.0, 1.0]), np.array([1, 0, 0]))) == 1.5


def test_pruning_keeps_the_quotas_without_repeats(toy):
    sample = toy.draw(np.random.default_rng(0), 40)
    kept = toy.prune(np.random.default_rng(1), sample, np.array([3, 17]))
    assert np.bincount(kept.label).tolist() == [3, 17]
    assert len(set(kept.point.tolist())) == 20 and set(kept.point.tolist()) <= set(sample.point.tolist())


def test_fitted_thresholds_scatter_around_the_exact_ones(toy):
    sets = 100
    found = toy.repeat(sets, seed=1)
    for name in ("all points", "random 75 %"):
        threshold = found[name][:, 0]
        assert abs(threshold.mean() - toy.best_threshold(1.0)) < 4 * threshold.std() / math.sqrt(sets)
    # Recalls measured on 400 points are noisy, so most of the way to -1/3 is gone, not all of it.
    drop = found["DRoP 75 %"]
    assert -0.34 < drop[:, 0].mean() < -0.26
    worst = {name: rows[:, 1:].max(axis=1).mean() for name, rows in found.items()}
    assert worst["DRoP 75 %"] < worst["random 75 %"] and worst["DRoP 75 %"] < worst["all points"]


def test_it_is_seeded_and_prints_both_tables(toy, capsys):
    toy.main()
    first = capsys.readouterr().out
    toy.main()
    assert capsys.readouterr().out == first
    for text in ("-0.170", "4.85%", "12.10%", "-0.333", "9.12%", "DRoP 75 % (50%, 100%)"):
        assert text in first


def test_doctests(toy):
    result = doctest.testmod(toy)
    assert result.attempted >= 3 and result.failed == 0
