from __future__ import annotations

import math

import numpy as np
import pytest
from toy_samplers import draw_losses, drive, show_losses, start_sampler

from dprune_cli.core.errors import UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS

N = 40


def test_the_defaults():
    sampler = SAMPLERS.make("ucb")
    assert (sampler.period, sampler.warmup, sampler.alpha, sampler.c) == (None, 0, 0.8, 1.0)


def test_mean_and_variance_worked_by_hand():
    sampler = start_sampler("ucb:alpha=0.5,c=2", 20)
    show_losses(sampler, [1], 2.0)
    assert sampler.score()[:2].tolist() == [math.inf, 2.0]
    # The variance goes by the old mean: 0.5 * 0 + 0.5 * (4 - 2)^2 = 2; then the mean is 3.
    show_losses(sampler, [1], 4.0)
    assert sampler.state["var"][1] == 2 and sampler.state["mean"][1] == 3
    assert sampler.score()[1] == 7
    # 0.5 * 2 + 0.5 * (5 - 3)^2 = 3, and 4.
    show_losses(sampler, [1, 0], [5.0, 0.25])
    assert sampler.score()[:2].tolist() == [0.25, 10.0]
    assert sampler.state["var"][:3].tolist() == [0, 3, 0] and np.isinf(sampler.score()[2:]).all()


def test_alpha_is_the_weight_of_the_new_loss():
    sampler = start_sampler("ucb:alpha=0.75", 20)
    show_losses(sampler, [0], 4.0)
    show_losses(sampler, [0], 8.0)
    # 0.75 * (8 - 4)^2 and 0.25 * 4 + 0.75 * 8
    assert sampler.state["var"][0] == 12 and sampler.state["mean"][0] == 7


@pytest.mark.parametrize("spec", ["ucb:period=1", "ucb:period=2,alpha=0.3,c=4", "ucb:period=1,warmup=3,c=0"])
def test_selections_are_those_of_a_slow_reference(spec):
    losses, sampler = draw_losses(14), start_sampler(spec, 24, epochs=14)
    state, last = {}, set()
    for epoch, plan in enumerate(drive(sampler, losses), 1):
        rows, size = set(plan.rows), int(sampler.sizes[epoch - 1])
        assert len(rows) == len(plan.rows) == size
        if epoch > sampler.warmup and (epoch - sampler.warmup - 1) % sampler.period == 0:
            new = set(range(N)) - set(state)
            if len(new) < size:
                bound = {row: mean + sampler.c * var for row, (mean, var) in state.items()}
                new |= set(sorted(bound, key=bound.get, reverse=True)[: size - len(new)])
                assert rows == new
            else:
                assert rows <= new
        elif epoch > sampler.warmup:
            assert rows <= last
        last = rows
        for row in map(int, rows):
            loss, a = float(losses[epoch - 1, row]), sampler.alpha
            mean, var = state.get(row, (loss, 0.0))
            state[row] = ((1 - a) * mean + a * loss, (1 - a) * var + a * (loss - mean) ** 2)
    assert len(state) == N


def test_every_sample_is_visited_before_any_is_visited_twice():
    sampler = start_sampler("ucb:period=1", 12, epochs=6)
    # Losses beyond any bound on what was never seen.
    plans = drive(sampler, np.full((6, N), 1e6, np.float32))
    first = np.concatenate([plan.rows for plan in plans[:3]])
    assert len(np.unique(first)) == 36
    assert set(range(N)) - set(first) <= set(plans[3].rows)


def test_what_was_never_visited_comes_in_random_order():
    sampler, times = start_sampler("ucb", 10, epochs=1), np.zeros(N)
    for draw in range(2000):
        times[sampler.plan(1, numpy_rng(draw)).rows] += 1
    assert times / 2000 == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 2000))


@pytest.mark.parametrize(("c", "expected"), [(0, {0, 1}), (1, {0, 2}), (50, {2, 3})])
def test_c_weighs_the_variance(c, expected):
    sampler = start_sampler(f"ucb:c={c},alpha=0.5", 2, sizes=(3, 2), epochs=1)
    for losses in ([3.0, 2.0, 0.0, 0.0, 0.1], [3.0, 2.0, 2.5, 1.0, 0.1]):
        show_losses(sampler, np.arange(5), losses)
    # Means 3, 2, 1.25, 0.5, 0.1; variances 0, 0, 3.125, 0.5, 0.
    assert set(sampler.plan(1, numpy_rng(0)).rows) == expected


def test_a_selection_lasts_a_period_and_a_warm_up_is_whole():
    sampler = start_sampler("ucb:period=3,warmup=1", 22, epochs=7)
    plans = [set(plan.rows) for plan in drive(sampler, draw_losses(7))]
    assert plans[0] == set(range(N))
    assert plans[1] == plans[2] == plans[3] != plans[4] == plans[5] == plans[6]
    assert all(len(rows) == 19 for rows in plans[1:])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("ucb:period=0", "ucb:period=0 is less than 1"),
        ("ucb:warmup=-2", "ucb:warmup=-2 is less than 0"),
        ("ucb:alpha=0", r"ucb:alpha=0\.0 is not above 0 and at most 1"),
        ("ucb:alpha=1.2", r"ucb:alpha=1\.2 is not"),
        ("ucb:c=-1", r"ucb:c=-1\.0 is no number from 0 up"),
        ("ucb:c=nan", "ucb:c=nan is no number"),
        ("ucb:c=inf", "ucb:c=inf is no number"),
    ],
)
def test_parameters_out_of_range(spec, why):
    with pytest.raises(UsageError, match=why):
        SAMPLERS.make(spec)
