from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dprune_cli.core.config import TrainConfig
from dprune_cli.train.optim import learning_rate, make_optimizer, set_rate


def rates(steps, steps_per_epoch=2.0, **settings):
    config = TrainConfig(lr=2.0, **settings)
    return [learning_rate(config, step, steps, steps_per_epoch) for step in range(steps)]


def test_constant():
    assert rates(5, schedule="constant") == [2.0] * 5


def test_cosine_by_hand():
    # 1 + cos of 0, 45, 90 and 135 degrees; it would reach 0 at the step after the last.
    half = math.sqrt(0.5)
    assert rates(4, schedule="cosine") == pytest.approx([2.0, 1 + half, 1.0, 1 - half])


def test_step_by_hand():
    # Of 8 steps, a quarter is 2 and three quarters are 6; the order of the milestones is free.
    expected = [2.0] * 2 + [1.0] * 4 + [0.5] * 2
    assert rates(8, schedule="step", milestones="0.75,0.25", lr_drop=0.5) == pytest.approx(expected)


def test_step_without_milestones_is_constant():
    assert rates(3, schedule="step", milestones="") == [2.0] * 3


def test_warmup_by_hand():
    # One and a half epochs of 2 steps: 3 steps climb to the peak by quarters, then 4 steps of cosine.
    half = math.sqrt(0.5)
    expected = [0.5, 1.0, 1.5, 2.0, 1 + half, 1.0, 1 - half]
    assert rates(7, schedule="cosine", warmup=1.5) == pytest.approx(expected)
    assert rates(5, schedule="constant", warmup=1.0) == pytest.approx([2 / 3, 4 / 3, 2.0, 2.0, 2.0])


def test_a_warmup_longer_than_the_run_ends_at_the_peak():
    assert rates(4, schedule="cosine", warmup=100.0) == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates(1, schedule="cosine", warmup=100.0) == [2.0]


def test_the_optimizer_gets_its_settings_and_leaves_frozen_parameters_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    config = TrainConfig(lr=0.3, momentum=0.7, nesterov=True, weight_decay=0.01)
    optimizer = make_optimizer(model, config)
    (group,) = optimizer.param_groups
    assert [id(parameter) for parameter in group["params"]] == [id(one) for one in model[1].parameters()]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (
        0.3,
        0.7,
        True,
        0.01,
    )
    set_rate(optimizer, 0.05)
    assert group["lr"] == 0.05


def test_two_nesterov_steps_by_hand():
    """v <- m v + g; w <- w - lr (g + m v), with g the gradient plus weight decay."""
    weight = nn.Parameter(torch.tensor([1.0]))
    model = nn.Module()
    model.weight = weight
    optimizer = make_optimizer(model, TrainConfig(lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.2))
    for gradient, rate in ((1.0, 0.1), (2.0, 0.05)):
        weight.grad = torch.tensor([gradient])
        set_rate(optimizer, rate)
        optimizer.step()
    # g = 1.2, v = 1.2, w = 1 - 0.1 * 1.8 = 0.82; g = 2.164, v = 2.764, w = 0.82 - 0.05 * 3.546.
    assert weight.item() == pytest.approx(0.82 - 0.05 * 3.546)
