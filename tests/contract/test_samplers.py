"""Every registered sampler through the same checks, on 40 samples in classes of 20, 12, 6 and 2."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from toy_fits import (
    make_config,
    make_data,
    make_fit,
    make_info,
    make_validation,
    same,
    weights,
    without_seconds,
)

from dprune_cli.core.errors import BudgetError
from dprune_cli.core.info import MethodInfo
from dprune_cli.core.registry import parameters
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS, EpochSampler
from dprune_cli.train.observe import Phase
from dprune_cli.train.recorders import VisitLog

ALL = SAMPLERS.names()
EPOCHS = 8
VISITS = 26  # of 40: as few as InfoBatch with its whole epochs can do, and a little more
# Validation lacks the last class.
SPECS = {"drop": "drop:period=2,missing_class=mean", "eps_greedy": "eps_greedy:period=3,warmup=1"}
SPECS |= {"ucb": "ucb:period=2", "tdds": "tdds:period=2"}


def make(name):
    return SAMPLERS.make(SPECS.get(name, name))


def start(name, visits=VISITS, **options):
    settings = {"epochs": EPOCHS, **options.pop("config", {})}
    return make_fit(
        make_config(**settings),
        sampler=make(name),
        visits=visits,
        validation=make_validation(),
        **options,
    )


class Plans:
    """Passes everything on to a sampler, and remembers its plans."""

    def __init__(self, sampler):
        self.sampler, self.plans = sampler, []

    def __getattr__(self, name):
        return getattr(self.sampler, name)

    def plan(self, epoch, rng):
        self.plans.append(self.sampler.plan(epoch, rng))
        return self.plans[-1]


def planned(name, visits=VISITS, **options):
    """A finished run, and the rows and factors of every epoch."""
    fit = start(name, visits, **options)
    fit.sampler = Plans(fit.sampler)
    fit.train()
    plans = [(np.sort(plan.rows), plan.scale) for plan in fit.sampler.plans]
    return fit, plans


def equal(first, second):
    return len(first) == len(second) and all(
        np.array_equal(one[0], two[0])
        and ((one[1] is None and two[1] is None) or torch.equal(one[1], two[1]))
        for one, two in zip(first, second, strict=True)
    )


def test_they_are_there():
    assert {"rcap", "infobatch", "rs2", "eps_greedy", "ucb", "random", "drop", "tdds"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_it_says_what_it_is(name):
    cls = SAMPLERS.get(name)
    assert issubclass(cls, EpochSampler) and isinstance(cls.info, MethodInfo)
    assert cls.info.name == name == cls.__module__.rpartition(".")[2]
    assert cls.info.title and cls.info.paper and cls.needs
    if cls.info.paper.startswith("https://"):
        assert "As in the" in cls.__doc__ or "Departs from the" in cls.__doc__
        assert cls.info.paper in sys.modules[cls.__module__].__doc__


@pytest.mark.parametrize("name", ALL)
def test_it_is_a_dataclass_of_plain_parameters(name):
    assert dataclasses.is_dataclass(make(name)) and make(name) == make(name)
    for value in parameters(make(name)).values():
        assert value is None or isinstance(value, (int, float, str, bool))


@pytest.mark.parametrize("name", ALL)
def test_the_budget_is_met_on_average_over_the_run(name):
    fit, plans = planned(name)
    assert sum(len(rows) for rows, _ in plans) == VISITS * EPOCHS == fit.sampler.sizes.sum()
    assert [row["visited"] for row in fit.history] == fit.sampler.sizes.tolist()
    for rows, _ in plans:
        assert len(np.unique(rows)) == len(rows) and set(rows) <= set(range(40))


@pytest.mark.parametrize("name", ALL)
def test_every_visit_is_one_of_the_plan(name):
    log = VisitLog()
    _, plans = planned(name, recorders=[log])
    expected = np.bincount(np.concatenate([rows for rows, _ in plans]), minlength=40)
    assert log.state["visits"].tolist() == expected.tolist()


@pytest.mark.parametrize("name", ALL)
def test_all_of_the_data_is_plain_training(name):
    fit, plans = planned(name, 40)
    plain = make_fit(make_config(epochs=EPOCHS), validation=make_validation())
    plain.train()
    assert all(len(rows) == 40 and (scale is None or (scale == 1).all()) for rows, scale in plans)
    assert same(weights(fit.model), weights(plain.model))


@pytest.mark.parametrize("name", ALL)
def test_factors_keep_the_loss_of_an_epoch_unbiased(name):
    """Whoever scales losses makes up for exactly those that it leaves out."""
    for rows, scale in planned(name)[1]:
        if scale is not None:
            assert scale.shape == (40,) and scale.dtype == torch.float32
            assert scale[rows].sum().item() == pytest.approx(40, rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_run_is_a_function_of_its_seed(name):
    first, plans = planned(name)
    again, same_plans = planned(name)
    other, _ = planned(name, config={"seed": 1})
    assert equal(plans, same_plans) and same(weights(first.model), weights(again.model))
    assert without_seconds(first.history) == without_seconds(again.history)
    assert not same(weights(first.model), weights(other.model))


@pytest.mark.parametrize("name", ALL)
def test_it_starts_afresh(name):
    fit, plans = planned(name)
    follow = start(name)
    follow.sampler = Plans(fit.sampler.sampler)
    follow.train()
    assert equal(plans, [(np.sort(plan.rows), plan.scale) for plan in follow.sampler.plans])


@pytest.mark.parametrize("name", ALL)
def test_watching_it_is_free(name):
    watched, _ = planned(name, recorders=[VisitLog()])
    alone, _ = planned(name)
    assert same(weights(watched.model), weights(alone.model))


@pytest.mark.parametrize("name", ALL)
def test_global_random_states_are_left_alone(name):
    torch.random.default_generator.manual_seed(5)
    np.random.seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    planned(name)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stop", range(1, EPOCHS))
def test_a_resumed_run_makes_the_same_plans(name, stop, tmp_path):
    whole, plans = planned(name, state_file=tmp_path / "whole")
    first = start(name, state_file=tmp_path / "state")
    first.sampler = Plans(first.sampler)
    first.train(stop)
    fit, rest = planned(name, state_file=tmp_path / "state")
    assert equal(plans[stop:], rest)
    assert same(weights(fit.model), weights(whole.model))
    assert without_seconds(fit.history) == without_seconds(whole.history)


@pytest.mark.parametrize("name", ALL)
def test_samples_that_cannot_be_used_are_never_visited(name):
    bad = [0, 5, 21, 39]
    data = make_data()
    rows = np.setdiff1d(np.arange(40), bad)
    data = dataclasses.replace(data, rows=rows)
    target = data.target.clone()
    target[bad] = -1
    fit = start(name, visits=24, data=data)
    fit.info = dataclasses.replace(make_info(data, EPOCHS), target=target)
    fit.sampler = Plans(fit.sampler)
    fit.train()
    visited = np.concatenate([plan.rows for plan in fit.sampler.plans])
    assert set(visited) <= set(rows) and len(visited) == 24 * EPOCHS


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("epochs", [1, 3])
def test_few_epochs_are_enough(name, epochs):
    fit = start(name, 40, config={"epochs": epochs})
    fit.train()
    assert [row["visited"] for row in fit.history] == [40] * epochs


@pytest.mark.parametrize("name", ALL)
def test_a_budget_that_cannot_be_met_is_refused_before_training(name):
    sampler, info = make(name), make_info(make_data(), EPOCHS)
    with pytest.raises(BudgetError, match=name):
        sampler.start(info, 1)


@pytest.mark.parametrize("name", ALL)
def test_it_looks_at_one_phase_or_none(name):
    sampler = make(name)
    assert sampler.phase in (None, Phase.TRAIN, Phase.VALIDATION)
    sampler.start(make_info(make_data(), EPOCHS), VISITS)
    sampler.plan(1, numpy_rng(0))
    assert isinstance(sampler.facts(), dict)
    assert all(isinstance(value, torch.Tensor) for value in sampler.state.values())
