from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from tiny_data import SIZES
from toy_fits import CLASSES, make_config, make_data, make_fit, make_info
from toy_samplers import show_losses, start_sampler

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS

LOG4 = math.log(4)


def started(spec="rcap", sizes=SIZES, visits=20, epochs=4, **info):
    return start_sampler(spec, visits, sizes, epochs, **info)


def counts(sampler, plan, sizes=SIZES):
    label = np.repeat(np.arange(len(sizes)), sizes)
    return np.bincount(label[plan.rows], minlength=len(sizes)).tolist()


def reference(sizes, loss, budget):
    """n_j = B sqrt(p_j L_j) / sum_k sqrt(p_k L_k), offenders whole, re-solved; then largest remainders."""
    sizes, loss = np.array(sizes, float), np.array(loss, float)
    share, whole, left = np.zeros(len(sizes)), np.zeros(len(sizes), bool), float(budget)
    while True:
        root = np.where(whole, 0, np.sqrt(sizes / sizes.sum() * loss))
        share = np.where(whole, sizes, left * root / root.sum())
        over = ~whole & (share > sizes)
        if not over.any():
            break
        whole |= over
        left = budget - sizes[whole].sum()
    found = np.floor(share + 1e-9).astype(int)
    for k in np.argsort(-(share - found), kind="stable")[: budget - found.sum()]:
        found[k] += 1
    return found.tolist()


def test_the_first_epoch_is_proportional_to_class_size():
    sampler = started(visits=20)
    assert counts(sampler, sampler.plan(1, numpy_rng(0))) == [10, 6, 3, 1]


def test_the_allocation_worked_by_hand():
    # N = 600, 300, 100 and L = 60, 90, 80: for B = 300, 128.346, 111.151 and 60.503; for B = 700 the last
    # class is whole, and the others get 321.539 and 278.461.
    sizes = (600, 300, 100)
    for budget, expected in ((300, [128, 111, 61]), (700, [322, 278, 100])):
        sampler = started("rcap:aggregate=class,clip=9", sizes, budget)
        for first, size, total in zip((0, 600, 900), sizes, (60, 90, 80), strict=True):
            show_losses(sampler, np.arange(first, first + size), total / size)
        assert counts(sampler, sampler.plan(1, numpy_rng(0)), sizes) == expected
        assert expected == reference(sizes, [60, 90, 80], budget)
        assert sampler.facts()["class_loss"] == pytest.approx([60, 90, 80], rel=1e-6)


def test_budgets_reach_the_fixed_point_where_density_is_the_mean_loss():
    sizes, mean = (5000, 1500, 500, 200), np.array([0.4, 0.5, 0.6, 0.8])
    sampler = started("rcap:clip=1", sizes, 1000, 30)
    label = np.repeat(np.arange(4), sizes)
    seen = []
    for epoch in range(1, 31):
        plan = sampler.plan(epoch, numpy_rng(0, epoch))
        seen.append(counts(sampler, plan, sizes))
        show_losses(sampler, plan.rows, mean[label[plan.rows]])
    # From class sizes to n_j ~ N_j m_j; the logarithm of the error halves every epoch.
    assert seen[0] == [695, 208, 69, 28]
    assert np.abs(np.array(seen[1]) - [660.3, 221.5, 80.9, 37.4]).max() < 1.5
    assert np.abs(np.array(seen[-1]) - [623.05, 233.64, 93.46, 49.84]).max() < 1.5


@pytest.mark.parametrize("aggregate", ["subset", "class"])
def test_the_history_holds_what_set_the_next_budgets(aggregate):
    data, config = make_data(), make_config(epochs=6)
    fit = make_fit(config, data, sampler=SAMPLERS.make(f"rcap:aggregate={aggregate}"), visits=22)
    history = fit.train()
    for row, following in itertools.pairwise(history):
        assert following["class_visited"] == reference(SIZES, row["class_loss"], 22)
    assert all(sum(row["class_visited"]) == 22 == row["visited"] for row in history)


def test_losses_are_those_of_the_last_visit_clipped():
    sampler = started(visits=40)
    sampler.plan(1, numpy_rng(0))
    show_losses(sampler, [0, 20], [0.25, 9.0])
    loss = sampler.state["loss"]
    assert loss[0] == 0.25 and loss[20] == pytest.approx(LOG4) and loss[1] == pytest.approx(LOG4)
    sampler = started("rcap:clip=0.5", visits=40)
    show_losses(sampler, [0, 1], [0.25, 9.0])
    assert sampler.state["loss"][:3].tolist() == [0.25, 0.5, 0.5]


def test_subset_counts_what_was_visited_last_and_class_everything():
    found = {}
    for aggregate in ("subset", "class"):
        sampler = started(f"rcap:aggregate={aggregate}", (4, 2), visits=3)
        sampler.plan(1, numpy_rng(0))
        sampler.state["visited"].zero_()[[0, 1, 4]] = True
        show_losses(sampler, [0, 1, 4], [0.5, 0.25, 0.125])
        found[aggregate] = sampler.facts()["class_loss"]
    assert found["subset"] == [0.75, 0.125]
    # What was never visited counts as log 2.
    assert found["class"] == pytest.approx([0.75 + 2 * math.log(2), 0.125 + math.log(2)], rel=1e-6)


def test_losses_of_zero_spread_the_budget_by_class_size():
    sampler = started(visits=20)
    show_losses(sampler, np.arange(40), 0.0)
    assert counts(sampler, sampler.plan(2, numpy_rng(0))) == [10, 6, 3, 1]


def test_draws_have_the_probabilities_of_sequential_ones():
    # Two of three without replacement, p ~ exp(loss / beta): the sum over both orders.
    losses, beta = np.array([0.2, 0.9, 1.6]), 0.5
    p = np.exp(losses / beta) / np.exp(losses / beta).sum()
    pairs = {(0, 1): 0.0, (0, 2): 0.0, (1, 2): 0.0}
    for first in range(3):
        for second in range(3):
            if first != second:
                pairs[tuple(sorted((first, second)))] += p[first] * p[second] / (1 - p[first])
    sampler = started(f"rcap:beta={beta},clip=5", (3, 1), visits=3)
    show_losses(sampler, [0, 1, 2], losses)
    # The only sample of the second class has so much loss that it is always whole.
    show_losses(sampler, [3], 5.0)
    times = dict.fromkeys(pairs, 0)
    for draw in range(4000):
        plan = sampler.plan(2, numpy_rng(1, draw))
        sampler.state["visited"].fill_(True)
        times[tuple(sorted(set(plan.rows) - {3}))] += 1
    for pair, share in pairs.items():
        assert times[pair] / 4000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))


@pytest.mark.parametrize(("beta", "expected"), [(1e-3, {0, 1, 2}), (1e6, None)])
def test_a_small_temperature_takes_the_largest_losses(beta, expected):
    sampler = started(f"rcap:beta={beta},aggregate=class", (10, 3), visits=4)
    show_losses(sampler, np.arange(10), np.linspace(0.69, 0.01, 10))
    show_losses(sampler, [10, 11, 12], 0.05)
    taken = [set(sampler.plan(2, numpy_rng(draw)).rows) & set(range(10)) for draw in range(20)]
    if expected:
        assert all(rows == set(sorted(rows)[: len(rows)]) and rows == set(range(len(rows))) for rows in taken)
    else:
        assert len(set().union(*taken)) > 8


def test_groups_have_budgets_of_their_own():
    group = torch.tensor([0] * 30 + [1] * 10)
    sampler = started("rcap:by=group", visits=20, group=group, group_names=["land", "water"])
    plan = sampler.plan(1, numpy_rng(0))
    assert np.bincount(group[plan.rows].numpy()).tolist() == [15, 5]
    show_losses(sampler, plan.rows, np.where(group[plan.rows] == 0, 0.1, 0.9))
    facts = sampler.facts()
    assert facts["group_visited"] == [15, 5] and facts["group_loss"] == pytest.approx([1.5, 4.5], rel=1e-6)
    assert "class_loss" not in facts
    plan = sampler.plan(2, numpy_rng(1))
    assert np.bincount(group[plan.rows].numpy()).tolist() == reference([30, 10], [1.5, 4.5], 20) == [10, 10]


def test_groups_that_are_missing():
    with pytest.raises(UsageError, match="rcap:by=group needs groups; give --group-field"):
        started("rcap:by=group")
    with pytest.raises(DataError, match=r"1 samples have no group \(first '7'\)"):
        group = torch.zeros(40, dtype=torch.int64)
        group[7] = -1
        started("rcap:by=group", group=group, group_names=["land"])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("rcap:beta=0", "rcap:beta=0.0 is no number of at least 1e-06"),
        ("rcap:beta=nan", "no number of at least"),
        ("rcap:clip=-1", "rcap:clip=-1.0 is no number above 0"),
        ("rcap:aggregate=all", "none of subset, class"),
        ("rcap:by=colour", "none of class, group"),
    ],
)
def test_senseless_parameters(spec, why):
    with pytest.raises(UsageError, match=why):
        SAMPLERS.make(spec)


def test_hard_classes_get_more():
    """The correlation over classes of mean loss and density; the authors' released code gives -0.88."""
    rng = np.random.default_rng(0)
    sizes, mean = (80, 60, 50, 40, 30, 20), np.array([0.2, 0.9, 0.4, 1.4, 0.6, 1.1])
    label = np.repeat(np.arange(6), sizes)
    losses = np.clip(mean[label] + rng.normal(0, 0.05, len(label)), 0, None)
    sampler = started("rcap", sizes, 70, 20)
    for epoch in range(1, 21):
        plan = sampler.plan(epoch, numpy_rng(epoch))
        show_losses(sampler, plan.rows, losses[plan.rows])
    density = np.array(counts(sampler, plan, sizes)) / sizes
    assert np.corrcoef(density, mean)[0, 1] > 0.95


def test_classes_without_a_sample_get_none():
    run = make_info(make_data((20, 0, 6, 2)), 2)
    sampler = SAMPLERS.make("rcap")
    sampler.start(dataclasses.replace(run, classes=CLASSES), 14)
    plan = sampler.plan(1, numpy_rng(0))
    assert counts(sampler, plan, (20, 0, 6, 2)) == [10, 0, 3, 1]


def test_a_class_of_which_nothing_was_visited_comes_back():
    sizes = (600, 397, 3)
    sampler = started("rcap", sizes, 100, 30)
    label = np.repeat(np.arange(3), sizes)
    visits = []
    for epoch in range(1, 31):
        plan = sampler.plan(epoch, numpy_rng(epoch))
        visits.append(counts(sampler, plan, sizes)[2])
        show_losses(sampler, plan.rows, np.array([0.3, 0.3, 0.9])[label[plan.rows]])
        whole = sampler.state["loss"].numpy()[label == 2].sum(dtype=np.float64)
        if visits[-1] == 0:
            assert sampler.facts()["class_loss"][2] == pytest.approx(whole)
    assert visits[0] == 0 and sum(visits) > 5
