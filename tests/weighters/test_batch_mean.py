from __future__ import annotations

import numpy as np
import pytest
import torch

from dprune_cli.train.observe import Phase, RunInfo, observe
from dprune_cli.weighters.base import WEIGHTERS


def batch(size):
    target = torch.zeros(size, dtype=torch.int64)
    return observe(Phase.TRAIN, 1, torch.arange(size), target, torch.zeros(size, 4))


def test_every_sample_gets_the_mean_weight():
    weighter = WEIGHTERS.make("batch_mean")
    weighter.start(RunInfo(["a"], torch.tensor([0]), 4, 3))
    assert weighter.coef(batch(4), torch.tensor([0.0, 1.0, 2.0, 5.0])).tolist() == [0.5] * 4
    assert weighter.coef(batch(1), torch.tensor([3.0])).tolist() == [3.0]
    assert weighter.coef(batch(2), torch.zeros(2)).tolist() == [0, 0]
    weighter.end_epoch(1, torch.zeros(4))
    assert weighter.state == {}


def test_without_weights_it_is_the_plain_mean():
    assert WEIGHTERS.make("batch_mean").coef(batch(8), torch.ones(8)).tolist() == [1 / 8] * 8


def test_the_batch_loss_is_the_product_of_means():
    rng = np.random.default_rng(0)
    weight, loss = torch.tensor(rng.random(13)), torch.tensor(rng.random(13))
    coef = WEIGHTERS.make("batch_mean").coef(batch(13), weight)
    assert float((coef * loss).sum()) == pytest.approx(float(weight.mean() * loss.mean()))
