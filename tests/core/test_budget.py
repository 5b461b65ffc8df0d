from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from dprune_cli.core.budget import allocate, fill, largest_remainder, parse_budget, round_half_up
from dprune_cli.core.errors import BudgetError, UsageError

SIZES = np.array([5000, 1500, 500, 100])
ERRORS = np.array([0.05, 0.1, 0.3, 0.6])


def slow_fill(weights: list[Fraction], caps: list[int], total: Fraction) -> list[Fraction]:
    """Water-filling in exact rationals: classes saturate in the order of cap / weight."""
    share = [Fraction(0)] * len(caps)
    order = sorted((k for k in range(len(caps)) if weights[k] > 0), key=lambda k: caps[k] / weights[k])
    rest = Fraction(total)
    for place, k in enumerate(order):
        scale = rest / sum(weights[j] for j in order[place:])
        if scale * weights[k] < caps[k]:
            for j in order[place:]:
                share[j] = scale * weights[j]
            return share
        share[k] = Fraction(caps[k])
        rest -= caps[k]
    idle = [k for k in range(len(caps)) if weights[k] == 0]
    room = sum(caps[k] for k in idle)
    for k in idle:
        share[k] = rest * caps[k] / room if room else Fraction(0)
    return share


def slow_rounding(share: list[Fraction], total: int) -> list[int]:
    count = [math.floor(value) for value in share]
    order = sorted(range(len(share)), key=lambda k: (count[k] - share[k], k))
    for k in order[: total - sum(count)]:
        count[k] += 1
    return count


@pytest.mark.parametrize(
    ("text", "available", "count"),
    [
        ("0.3", 2130, 639),
        ("30%", 10, 3),
        ("0.15", 10, 2),  # 1.5 exactly, which the nearest binary number to 0.15 is not
        ("0.145", 100, 15),
        ("0.05", 10, 1),
        ("1", 50, 1),
        ("1.0", 50, 50),
        ("100%", 7, 7),
        ("12.5%", 4, 1),
        ("5000", 5000, 5000),
        (" .5 ", 10, 5),
    ],
)
def test_budget_is_exact(text, available, count):
    assert parse_budget(text).count(available) == count


@pytest.mark.parametrize("text", ["", "abc", "-1", "1/2", "30%%", "nan", "inf", "%", "0x10", "1_0", "."])
def test_no_budget(text):
    with pytest.raises(UsageError, match="write a fraction"):
        parse_budget(text)


@pytest.mark.parametrize(("text", "available"), [("11", 10), ("1.2", 10), ("0", 10), ("0.01", 10), ("1", 0)])
def test_budget_that_cannot_be_met(text, available):
    with pytest.raises(BudgetError):
        parse_budget(text).count(available)


def test_halves_go_up():
    assert [round_half_up(Fraction(n, 2)) for n in (1, 2, 3, 5)] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("weights", "caps", "total", "expected"),
    [
        (500 * np.array([0.1, 0.2, 0.4, 0.7]), [500] * 4, 600, [300 / 7, 600 / 7, 1200 / 7, 300]),
        (500 * np.array([0.1, 0.2, 0.4, 0.7]), [500] * 4, 1400, [400 / 3, 800 / 3, 500, 500]),
        (SIZES * ERRORS, SIZES, 2130, [956.25, 573.75, 500, 100]),
        (SIZES * ERRORS, SIZES, 4970, [2870, 1500, 500, 100]),
        # RCAP: weights sqrt(p L), unsaturated and with class 3 saturated.
        (np.sqrt([36000, 27000, 8000]), [600, 300, 100], 300, [128.346, 111.151, 60.503]),
        (np.sqrt([36000, 27000, 8000]), [600, 300, 100], 700, [321.539, 278.461, 100]),
        ([0, 0, 2], [30, 60, 10], 40, [10, 20, 10]),  # the rest goes by size where weights are 0
        ([0, 0, 0], [30, 60, 10], 50, [15, 30, 5]),
        ([1, 1e-17], [10, 100], 20, [10, 10]),
        ([3, 5], [0, 10], 7, [0, 7]),
        ([1e300, 1e300], [10, 10], 10, [5, 5]),
    ],
)
def test_published_and_hand_worked_shares(weights, caps, total, expected):
    np.testing.assert_allclose(fill(weights, caps, total), expected, atol=5e-4)


def test_allocation_against_exact_water_filling():
    rng = random.Random(0)
    for _ in range(500):
        size = rng.choice([5, 100, 10**5, 10**7])
        caps = [rng.randint(0, size) for _ in range(rng.randint(1, 9))]
        parts = rng.choice([2, 5, 10])
        errors = [Fraction(rng.randint(0, parts), parts) for _ in caps]
        total = rng.randint(0, sum(caps))
        exact = slow_fill([n * e for n, e in zip(caps, errors, strict=True)], caps, Fraction(total))
        weights = np.array(caps) * (1 - (1 - np.array(errors, float)))
        np.testing.assert_allclose(fill(weights, caps, total), np.array(exact, float), rtol=1e-9, atol=1e-9)
        assert allocate(weights, caps, total).tolist() == slow_rounding(exact, total)


def test_ties_between_remainders_survive_rounding_errors_of_large_classes():
    # All shares are thirds of integers; float arithmetic gets the last bits of millions wrong.
    rng = random.Random(1)
    tried = 0
    while tried < 300:
        caps = [rng.randint(0, 10**7) for _ in range(rng.randint(2, 9))]
        errors = [Fraction(rng.randint(0, 7), 7) for _ in caps]
        scale = Fraction(rng.randint(1, 3), 3)
        shares = [min(Fraction(n), scale * n * e) for n, e in zip(caps, errors, strict=True)]
        if sum(shares).denominator != 1 or not sum(shares):
            continue
        tried += 1
        total = int(sum(shares))
        weights = np.array(caps) * (1 - (1 - np.array(errors, float)))
        assert allocate(weights, caps, total).tolist() == slow_rounding(shares, total)


def test_allocation_is_exact_capped_and_keeps_the_minimum():
    rng = np.random.default_rng(0)
    for _ in range(500):
        caps = rng.integers(0, 60, rng.integers(1, 10))
        weights = rng.random(len(caps)) * (rng.random(len(caps)) < 0.7) * 10.0 ** rng.integers(-12, 12)
        minimum = int(rng.integers(0, 8))
        promised = np.minimum(minimum, caps)
        total = int(rng.integers(promised.sum(), caps.sum() + 1))
        quotas = allocate(weights, caps, total, minimum)
        assert quotas.sum() == total
        assert (quotas >= promised).all() and (quotas <= caps).all()


def test_more_weight_never_means_fewer_samples():
    rng = np.random.default_rng(0)
    for _ in range(500):
        caps = rng.integers(1, 40, 6)
        weights = rng.integers(0, 5, 6).astype(float)
        total, minimum = int(rng.integers(6, caps.sum() + 1)), int(rng.integers(0, 2))
        more = weights.copy()
        chosen = rng.integers(6)
        more[chosen] += rng.random() * 3
        if weights[chosen] == 0:
            continue  # a weight of 0 can receive the rest by size, which is another rule
        before, after = allocate(weights, caps, total, minimum), allocate(more, caps, total, minimum)
        assert after[chosen] >= before[chosen]


def test_minimum_comes_first_and_the_formula_spreads_the_rest():
    # 2 + 2 + 1 are promised; the other 15 go 1 : 2 : 0.
    assert allocate([1, 2, 3], [50, 50, 1], 20, minimum=2).tolist() == [7, 12, 1]


def test_budgets_that_do_not_fit():
    with pytest.raises(BudgetError, match="there are only 30"):
        allocate([1, 1], [10, 20], 31)
    with pytest.raises(BudgetError, match="--min-per-class 5 needs 13 samples, more than the 12"):
        allocate([1, 1, 1], [50, 50, 3], 12, minimum=5)
    with pytest.raises(BudgetError, match="do not fit"):
        largest_remainder([1.0, 1.0], [1, 1], 3)


def test_rounding_respects_caps_and_ties_go_to_the_lower_id():
    assert largest_remainder([2.5, 2.5, 2.5, 2.5], [9] * 4, 10).tolist() == [3, 3, 2, 2]
    assert largest_remainder([1.9, 1.1], [1, 9], 3).tolist() == [1, 2]
