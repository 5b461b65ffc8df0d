from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.pickers.base import PICKERS
from dprune_cli.pickers.random import Random
from dprune_cli.pickers.top import Top
from dprune_cli.pickers.weighted import Weighted, perturb

TRIALS = 6000


def draw(picker, values, count, hashes):
    return picker.pick(values, count, lambda rows: hashes[rows], len(hashes))


def trials(picker, values, count, seed=0):
    """Many draws with fresh hashes."""
    rng = np.random.default_rng(seed)
    for _ in range(TRIALS):
        yield draw(picker, values, count, rng.integers(0, 2**64, len(values), np.uint64))


def chances(weights, count):
    """Probability of every set that draws without replacement, one after the other, can end with."""
    found = dict.fromkeys(itertools.combinations(range(len(weights)), count), 0.0)
    for order in itertools.permutations(range(len(weights)), count):
        chance, rest = 1.0, sum(weights)
        for row in order:
            chance *= weights[row] / rest
            rest -= weights[row]
        found[tuple(sorted(order))] += chance
    return found


def test_noise_by_hand():
    hashes = np.array([2**63, 2**62, 2**63 + 2**62], np.uint64)  # u = 1/2, 1/4, 3/4
    gumbel = [-math.log(math.log(2)), -math.log(math.log(4 / 3)), -math.log(math.log(4))]
    logits = np.array([3.0, 1.0, 2.0])
    expected = [gumbel[0], gumbel[1] - 2, gumbel[2] - 1]
    assert perturb(logits, hashes, 1.0, 3.0).tolist() == pytest.approx(expected)
    # Times the temperature below 1; only the order counts.
    assert perturb(logits, hashes, 0.5, 3.0).tolist() == pytest.approx(
        [0.5 * g - s for g, s in zip(gumbel, (0, 2, 1), strict=True)]
    )
    assert perturb(logits, hashes, 4.0, 3.0).tolist() == pytest.approx(
        [g - s / 4 for g, s in zip(gumbel, (0, 2, 1), strict=True)]
    )
    # 0.367, -0.754 and -1.327: rows 0 and 1.
    assert draw(Weighted(), logits, 2, hashes).tolist() == [0, 1]
    assert draw(Weighted(end="low"), logits, 2, hashes).tolist() == [1, 2]


@pytest.mark.parametrize(("end", "temperature"), [("high", 1.0), ("low", 1.0), ("high", 0.4), ("low", 3.0)])
def test_sets_are_as_likely_as_in_sequential_draws(end, temperature):
    values = np.array([0.3, -1.0, 1.2, 0.0, 0.9])
    sign = 1 if end == "high" else -1
    expected = chances(np.exp(sign * values / temperature).tolist(), 2)
    seen = dict.fromkeys(expected, 0)
    for rows in trials(Weighted(end=end, temperature=temperature), values, 2):
        seen[tuple(rows.tolist())] += 1
    chi = sum((seen[rows] - TRIALS * chance) ** 2 / (TRIALS * chance) for rows, chance in expected.items())
    # Nine degrees of freedom: above 33.7 in one of 10,000 seeds.
    assert chi < 33.7


def test_inclusion_is_that_of_numpys_weighted_choice():
    rng = np.random.default_rng(1)
    values = rng.normal(size=25)
    weights = np.exp(values / 0.7)
    found, expected = np.zeros(25), np.zeros(25)
    for rows in trials(Weighted(temperature=0.7), values, 9):
        found[rows] += 1
        expected[rng.choice(25, 9, replace=False, p=weights / weights.sum())] += 1
    spread = np.sqrt(expected * (1 - expected / TRIALS) * 2) + 1
    assert (np.abs(found - expected) < 4.5 * spread).all()
    # Not what a draw that ignores the weights would give.
    assert np.abs(found - TRIALS * 9 / 25).max() > 20 * spread.max()


def test_the_limits_are_top_and_random():
    rng = np.random.default_rng(2)
    values, hashes = rng.integers(0, 9, 60).astype(float), rng.integers(0, 2**64, 60, np.uint64)
    for count in (1, 20, 59):
        for end in ("high", "low"):
            cold, hot = Weighted(end=end, temperature=1e-300), Weighted(end=end, temperature=1e300)
            assert (
                draw(cold, values, count, hashes).tolist()
                == draw(Top(end=end), values, count, hashes).tolist()
            )
            assert draw(hot, values, count, hashes).tolist() == draw(Random(), None, count, hashes).tolist()


def test_a_common_offset_changes_nothing():
    rng = np.random.default_rng(3)
    values, hashes = rng.integers(0, 4, 50).astype(float), rng.integers(0, 2**64, 50, np.uint64)
    expected = draw(Weighted(), values, 20, hashes).tolist()
    for offset in (-1e15, 1e15):
        assert draw(Weighted(), values + offset, 20, hashes).tolist() == expected


def test_infinite_and_huge_values():
    rng = np.random.default_rng(4)
    hashes = rng.integers(0, 2**64, 6, np.uint64)
    values = np.array([0.0, np.inf, 1.0, -np.inf, np.inf, 2.0])
    assert draw(Weighted(), values, 2, hashes).tolist() == [1, 4]
    assert draw(Weighted(), values, 5, hashes).tolist() == [0, 1, 2, 4, 5]
    assert draw(Weighted(end="low"), values, 1, hashes).tolist() == [3]
    assert draw(Weighted(end="low"), values, 4, hashes).tolist() == [0, 2, 3, 5]
    huge = np.array([1e308, -1e308, 1.7e308, 0.0, -1.7e308, 1.6e308])
    for temperature in (1e-300, 1.0, 1e300):
        picker = Weighted(temperature=temperature)
        assert draw(picker, huge, 2, hashes).tolist() == [2, 5]
        assert draw(picker, huge, 3, hashes).tolist() == [0, 2, 5]


def test_parameters():
    assert PICKERS.make("weighted:temperature=0.5,end=low") == Weighted(temperature=0.5, end="low")
    for wrong in ("0", "-1", "nan", "inf"):
        with pytest.raises(UsageError, match=r"weighted:temperature=.* is no number above 0"):
            PICKERS.make(f"weighted:temperature={wrong}")
    with pytest.raises(UsageError, match="not the middle; give --end high or low"):
        PICKERS.make("weighted:end=middle")
    with pytest.raises(UsageError, match="not the middle; give --end high or low"):
        Weighted().oriented("middle")
    assert Weighted(end="low").oriented("middle") == Weighted(end="low")
    assert Weighted().oriented("low") == Weighted(end="low")
