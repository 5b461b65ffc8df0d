"""What the loop does with a sampler's plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_fits import (
    PLAIN,
    Everything,
    make_config,
    make_data,
    make_fit,
    make_model,
    make_validation,
    same,
    weights,
)
from toy_models import linear_net

from dprune_cli.core.seeds import numpy_rng
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import Phase

ONE_STEP = {"epochs": 1, "batch_size": 40, "lr": 0.2, "schedule": "constant", **PLAIN}


class Fixed:
    """A sampler with one plan."""

    def __init__(self, rows, scale=None, phase=Phase.TRAIN):
        self.rows, self.scale, self.phase = np.asarray(rows), scale, phase

    def start(self, run, visits):
        self.state, self.drawn, self.seen, self.visits = {}, [], [], visits

    def plan(self, epoch, rng):
        self.drawn.append(rng.random())
        return EpochPlan(self.rows, self.scale)

    def update(self, obs):
        self.seen.append(obs)

    def facts(self):
        return {"loss": -1.0 * len(self.seen)}


def trained(sampler=None, weight=None, **settings):
    """The weights of a linear model after one step; there a sample acts through its own loss alone."""
    config = make_config(**{**ONE_STEP, **settings})
    fit = make_fit(config, make_data(weight=weight), make_model(linear_net), sampler=sampler)
    fit.train()
    return weights(fit.model)


def assert_close(first, second):
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-5, atol=1e-7)


def test_factors_scale_the_losses():
    everything, scale = np.arange(40), torch.linspace(0.5, 2.0, 40)
    assert_close(trained(Fixed(everything, scale)), trained(weight=scale))
    assert_close(trained(Fixed(everything, torch.full((40,), 2.0)), lr=0.1), trained())
    assert not same(trained(Fixed(everything, scale)), trained())


def test_factors_multiply_the_weights_of_a_table():
    weight, scale = torch.linspace(2.0, 0.5, 40), torch.linspace(0.5, 2.0, 40)
    assert_close(trained(Fixed(np.arange(40), scale), weight=weight), trained(weight=weight * scale))


def test_the_mean_is_over_what_is_visited():
    rows = np.array([3, 17, 22, 38])
    weight = torch.zeros(40)
    weight[rows] = 10.0  # 40 / 4
    assert_close(trained(Fixed(rows)), trained(weight=weight))


def test_the_order_of_a_plan_does_not_matter():
    rows = np.array([31, 2, 17, 9, 22, 38, 5, 4, 12])
    found = [trained(Fixed(order), batch_size=4) for order in (rows, rows[::-1], np.sort(rows))]
    assert same(found[0], found[1]) and same(found[1], found[2])


def test_plans_are_drawn_from_a_stream_of_their_own():
    sampler = Fixed(np.arange(40))
    seen = Everything()
    make_fit(make_config(seed=5), sampler=sampler, recorders=[seen], run=2, visits=7).train()
    assert sampler.drawn == [numpy_rng(5, "sampler", 2, epoch).random() for epoch in (1, 2, 3)]
    assert sampler.visits == 7
    order = torch.cat([obs.index for obs in seen.seen if obs.epoch == 1]).tolist()
    assert order == numpy_rng(5, "order", 2, 1).permutation(np.arange(40)).tolist()


def test_steps_are_those_of_what_is_visited():
    rows = np.array([3, 17, 22, 38, 39])
    fit = make_fit(make_config(batch_size=2, schedule="cosine", lr=1e-3), sampler=Fixed(rows))
    fit.train()
    # 5 rows in batches of 2 and 3: two steps an epoch, six in all.
    expected = [1e-3 * 0.5 * (1 + np.cos(np.pi * step / 6)) for step in (1, 3, 5)]
    assert [row["lr"] for row in fit.history] == pytest.approx(expected)


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.VALIDATION, None])
def test_a_sampler_sees_its_own_phase(phase):
    sampler = Fixed(np.arange(12), phase=phase)
    validation = make_validation()
    fit = make_fit(sampler=sampler, validation=validation)
    fit.train()
    assert {obs.phase for obs in sampler.seen} == ({phase} if phase else set())
    if sampler.seen:
        rows = np.arange(12) if phase is Phase.TRAIN else validation.rows
        assert sorted(torch.cat([obs.index for obs in sampler.seen]).tolist()) == sorted(3 * rows.tolist())


def test_its_facts_replace_what_the_loop_counted():
    sampler = Fixed(np.arange(16))
    fit = make_fit(sampler=sampler)
    fit.train()
    assert [row["loss"] for row in fit.history] == [-2.0, -4.0, -6.0]
    assert all(row["visited"] == 16 and row["plan_seconds"] > 0 for row in fit.history)
