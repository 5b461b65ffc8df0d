from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from toy_fits import make_data, make_info

from dprune_cli.samplers._strata import Strata, find_strata
from dprune_cli.samplers.base import SAMPLERS


@pytest.mark.parametrize("quotas", [(1, 700, 0), (2, 1, 300), (5000, 4000, 300), (4999, 3999, 299)])
def test_the_best_of_large_strata(quotas):
    sizes = np.array([5000, 4000, 300])
    rng = np.random.default_rng(0)
    stratum = rng.permutation(np.repeat(np.arange(3), sizes))
    rows = np.argsort(stratum, kind="stable")
    keys = rng.standard_normal(len(rows))
    found = Strata(stratum, rows, sizes).best(keys, np.array(quotas))
    for number, quota in enumerate(quotas):
        own = stratum[rows] == number
        best = rows[own][np.argsort(-keys[own])[:quota]]
        assert sorted(found[stratum[found] == number]) == sorted(best)


def test_rows_that_cannot_be_used_are_in_no_stratum():
    info = make_info(make_data(), 3)
    target = info.target.clone()
    target[[0, 21, 39]] = -1
    group = torch.arange(40) % 2
    info = dataclasses.replace(info, target=target, group=group, group_names=["even", "odd"])
    for by, sizes in (("class", [19, 11, 6, 1]), ("group", [19, 18])):
        strata = find_strata(info, by, "rcap")
        assert strata.sizes.tolist() == sizes and not set(strata.rows) & {0, 21, 39}
        assert (strata.stratum[[0, 21, 39]] == -1).all()


@pytest.mark.parametrize("spec", ["rcap:by=group", "drop:by=group,period=1"])
def test_group_budgets_never_visit_what_cannot_be_used(spec):
    info = make_info(make_data(), 3)
    target = info.target.clone()
    target[:10] = -1
    info = dataclasses.replace(
        info,
        target=target,
        group=torch.arange(40) % 2,
        group_names=["even", "odd"],
        validation_group=torch.arange(12) % 2,
    )
    sampler = SAMPLERS.make(spec)
    sampler.start(info, 30)
    assert sorted(sampler.plan(1, np.random.default_rng(0)).rows) == list(range(10, 40))
