"""Budgets over a run: exact, and refused with advice that holds."""

from __future__ import annotations

import re

import pytest
from toy_samplers import start_sampler

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import BudgetError
from dprune_cli.samplers.base import spread_visits


@pytest.mark.parametrize(
    ("visits", "epochs", "samples", "full", "expected"),
    [
        (7, 3, 10, (), [7, 7, 7]),
        (7, 4, 10, {1}, [10, 6, 6, 6]),
        (8, 4, 10, {1, 4}, [10, 6, 6, 10]),
        (5, 4, 10, {2}, [4, 10, 3, 3]),
        (10, 2, 10, {1, 2}, [10, 10]),
    ],
)
def test_visits_are_spread_exactly(visits, epochs, samples, full, expected):
    assert spread_visits(visits, epochs, samples, full).tolist() == expected
    assert sum(expected) == visits * epochs


@pytest.mark.parametrize("spec", ["ucb:warmup=3", "infobatch", "tdds:warmup=6", "rcap"])
@pytest.mark.parametrize(("sizes", "epochs"), [((25, 9, 3), 7), ((1901, 98), 9), ((7, 4), 10)])
def test_the_advised_budget_is_enough_and_the_least(spec, sizes, epochs):
    with pytest.raises(BudgetError, match=r"on average it cannot visit 1; give --keep") as error:
        start_sampler(spec, 1, sizes, epochs)
    advised = re.search(r"--keep (\d\.\d+)", str(error.value))[1]
    enough = parse_budget(advised).count(sum(sizes))
    assert start_sampler(spec, enough, sizes, epochs).sizes.min() >= 2
    # The advice has three decimals.
    with pytest.raises(BudgetError):
        start_sampler(spec, enough - 2 - sum(sizes) // 1000, sizes, epochs)
