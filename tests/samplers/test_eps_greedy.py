from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toy_fits import make_config, make_fit, same
from toy_samplers import draw_losses, drive, show_losses, start_sampler

from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS

N = 40


def rows_of(plans):
    return [set(plan.rows) for plan in plans]


def test_the_defaults():
    sampler = SAMPLERS.make("eps_greedy")
    assert (sampler.period, sampler.warmup, sampler.alpha, sampler.eps) == (None, 0, 0.8, 0.1)


def test_the_averages_worked_by_hand():
    sampler = start_sampler("eps_greedy:alpha=0.25", 20)
    show_losses(sampler, [0, 3], [5.0, 0.0])
    assert sampler.score()[:4].tolist() == [2.0, 1.0, 1.0, 0.75]
    show_losses(sampler, [0, 1], [6.0, 9.0])
    # 0.75 * 2 + 0.25 * 6 and 0.75 * 1 + 0.25 * 9
    assert sampler.score()[:4].tolist() == [3.0, 3.0, 1.0, 0.75]
    sampler = start_sampler("eps_greedy:alpha=1", 20)
    show_losses(sampler, [0], 7.0)
    assert sampler.score()[:2].tolist() == [7.0, 1.0]


@pytest.mark.parametrize("warmup", [0, 2])
def test_the_greedy_part_is_that_of_a_slow_reference(warmup):
    losses, score, last = draw_losses(9), [1.0] * N, None
    sampler = start_sampler(f"eps_greedy:period=3,eps=0.25,alpha=0.5,warmup={warmup}", 20, epochs=9)
    for epoch, plan in enumerate(drive(sampler, losses), 1):
        rows, size = set(plan.rows), int(sampler.sizes[epoch - 1])
        assert len(rows) == len(plan.rows) == size
        if epoch <= warmup:
            assert rows == set(range(N))
        elif (epoch - warmup - 1) % 3 == 0:
            greedy = size - math.floor(size / 4 + 0.5)
            cut = sorted(score, reverse=True)[greedy - 1]
            assert {row for row in range(N) if score[row] > cut} <= rows
            assert len(rows & {row for row in range(N) if score[row] >= cut}) >= greedy
        else:
            assert rows <= last and len(last) - len(rows) <= 1
        last = rows
        for row in rows:
            score[row] = 0.5 * score[row] + 0.5 * float(losses[epoch - 1, row])


@pytest.mark.parametrize(
    ("eps", "size", "drawn"),
    # In floating point 0.29 * 50 is below 14.5.
    [(0.1, 5, 1), (0.1, 4, 0), (0.35, 10, 4), (0.29, 50, 15), (0, 8, 0), (1, 8, 8), (0.1, 90, 9)],
)
def test_the_random_share_is_exact_and_leaves_the_greedy_ones_alone(eps, size, drawn):
    sampler = start_sampler(f"eps_greedy:eps={eps},period=1", size, sizes=(60, 40), epochs=1)
    show_losses(sampler, np.arange(100), np.arange(100, 0, -1.0))
    others = set()
    for draw in range(300):
        rows = set(sampler.plan(1, numpy_rng(draw)).rows)
        assert len(rows) == size and set(range(size - drawn)) <= rows
        others |= rows - set(range(size - drawn))
    assert len(others) >= 2 * drawn


def test_others_are_drawn_evenly():
    sampler = start_sampler("eps_greedy:eps=0.5,period=1", 20, epochs=1)
    show_losses(sampler, np.arange(N), np.arange(N, 0, -1.0))
    times = np.zeros(N)
    for draw in range(2000):
        times[sampler.plan(1, numpy_rng(draw)).rows] += 1
    assert times[:10].tolist() == [2000] * 10
    assert times[10:] / 2000 == pytest.approx(1 / 3, abs=5 * math.sqrt(2 / 9 / 2000))


def test_equal_scores_are_told_apart_at_random():
    sampler, times = start_sampler("eps_greedy", 10, epochs=1), np.zeros(N)
    for draw in range(2000):
        times[sampler.plan(1, numpy_rng(draw)).rows] += 1
    assert times / 2000 == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 2000))


def test_a_selection_lasts_a_period():
    plans = rows_of(drive(start_sampler("eps_greedy:period=3", 20, epochs=8), draw_losses(8)))
    assert plans[0] == plans[1] == plans[2] != plans[3] == plans[4] == plans[5] != plans[6] == plans[7]


@pytest.mark.parametrize(("epochs", "selections"), [(1, 1), (20, 20), (30, 15), (60, 20)])
def test_a_period_is_a_twentieth_of_the_schedule(epochs, selections):
    plans = rows_of(drive(start_sampler("eps_greedy:eps=1", 20, epochs=epochs), draw_losses(epochs)))
    assert len(set(map(frozenset, plans))) == selections


def test_a_run_of_one_period_visits_one_random_subset():
    plans = rows_of(drive(start_sampler("eps_greedy:period=10", 20, epochs=10), draw_losses(10)))
    assert len(set(map(frozenset, plans))) == 1
    other = rows_of(drive(start_sampler("eps_greedy:period=10", 20, epochs=10), draw_losses(10), seed=1))
    assert other[0] != plans[0]


def test_a_shorter_epoch_leaves_out_one_of_the_selection_at_random():
    out = set()
    for seed in range(100):
        # Without a random share the selection itself is the same for every seed.
        sampler = start_sampler("eps_greedy:warmup=1,period=9,eps=0", 20)
        plans = rows_of(drive(sampler, draw_losses(4), seed))
        assert [len(rows) for rows in plans] == [40, 14, 13, 13]
        assert plans[2] < plans[1] and plans[3] == plans[2]
        out |= plans[1] - plans[2]
    assert out == plans[1]


def test_a_warm_up_is_part_of_the_budget():
    sampler = start_sampler("eps_greedy:warmup=2", 30, epochs=5)
    assert sampler.sizes.tolist() == [40, 40, 24, 23, 23]
    with pytest.raises(BudgetError, match="eps_greedy visits all 40 samples in 2 of 5 epochs"):
        start_sampler("eps_greedy:warmup=2", 17, epochs=5)
    assert start_sampler("eps_greedy:warmup=9", 40, epochs=3).sizes.tolist() == [40, 40, 40]
    with pytest.raises(BudgetError, match="in 3 of 3 epochs"):
        start_sampler("eps_greedy:warmup=9", 39, epochs=3)


def test_rows_that_cannot_be_used_are_neither_greedy_nor_random():
    for draw in range(50):
        sampler = start_sampler("eps_greedy:eps=0.5", 36, bad=(0, 20, 39))
        assert not {0, 20, 39} & set(sampler.plan(1, numpy_rng(draw)).rows)


@pytest.mark.parametrize("name", ["eps_greedy", "ucb"])
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_resumed_run_ends_in_the_same_state(name, stop, tmp_path):
    def run(path):
        spec = f"{name}:period=2,warmup=1"
        return make_fit(
            make_config(epochs=6), sampler=SAMPLERS.make(spec), visits=20, state_file=tmp_path / path
        )

    whole = run("whole")
    whole.train()
    run("state").train(stop)
    resumed = run("state")
    resumed.train()
    assert same(resumed.sampler.state, whole.sampler.state)
    assert all(isinstance(value, torch.Tensor) and len(value) for value in whole.sampler.state.values())


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("eps_greedy:period=0", "eps_greedy:period=0 is less than 1"),
        ("eps_greedy:warmup=-1", "eps_greedy:warmup=-1 is less than 0"),
        ("eps_greedy:period=2.5", "no int"),
        ("eps_greedy:alpha=0", r"eps_greedy:alpha=0\.0 is not above 0 and at most 1"),
        ("eps_greedy:alpha=1.01", r"eps_greedy:alpha=1\.01 is not"),
        ("eps_greedy:alpha=nan", "eps_greedy:alpha=nan is not"),
        ("eps_greedy:eps=-0.1", r"eps_greedy:eps=-0\.1 is not between 0 and 1"),
        ("eps_greedy:eps=1.5", r"eps_greedy:eps=1\.5 is not"),
        ("eps_greedy:eps=nan", "eps_greedy:eps=nan is not"),
    ],
)
def test_parameters_out_of_range(spec, why):
    with pytest.raises(UsageError, match=why):
        SAMPLERS.make(spec)
