from __future__ import annotations

import pytest
import torch

from dprune_cli.train.observe import Phase, RunInfo, observe
from dprune_cli.weighters.base import WEIGHTERS

NAN = float("nan")


def start(classes=4):
    weighter = WEIGHTERS.make("cdb_w")
    weighter.start(RunInfo(["a"], torch.tensor([0]), classes, 3))
    return weighter


def batch(target):
    target = torch.tensor(target)
    return observe(Phase.TRAIN, 1, torch.arange(len(target)), target, torch.zeros(len(target), 4))


def test_the_first_epoch_is_plain():
    assert start().coef(batch([0, 0, 1, 3]), torch.ones(4)).tolist() == [0.25] * 4
    weights = torch.tensor([1.0, 3.0, 0.0, 4.0])
    assert start().coef(batch([0, 0, 1, 3]), weights).tolist() == [0.125, 0.375, 0, 0.5]


def test_weights_are_one_minus_recall_of_the_epoch_before():
    weighter = start()
    weighter.end_epoch(1, torch.tensor([0.75, 0.5, 1.0, NAN], dtype=torch.float64))
    # Weights 1/4, 1/2, 0 and, for the class that validation lacks, 1: their sum over the batch is 2.
    found = weighter.coef(batch([0, 1, 2, 3, 0]), torch.ones(5))
    assert found.tolist() == pytest.approx([0.125, 0.25, 0, 0.5, 0.125])
    weighter.end_epoch(2, torch.zeros(4, dtype=torch.float64))
    assert weighter.coef(batch([0, 1]), torch.ones(2)).tolist() == [0.5, 0.5]


def test_a_batch_without_any_weight_falls_back_to_the_mean():
    weighter = start()
    weighter.end_epoch(1, torch.tensor([1.0, 0.5, 0.5, 0.5]))
    assert weighter.coef(batch([0, 0]), torch.tensor([1.0, 3.0])).tolist() == [0.5, 1.5]
    assert weighter.coef(batch([1, 1]), torch.zeros(2)).tolist() == [0, 0]


def test_starting_again_forgets():
    weighter = start()
    weighter.end_epoch(1, torch.tensor([0.9, 0.1, 0.1, 0.1]))
    weighter.start(RunInfo(["a"], torch.tensor([0]), 4, 3))
    assert weighter.coef(batch([0, 1]), torch.ones(2)).tolist() == [0.5, 0.5]


def test_it_says_what_it_is():
    for name in WEIGHTERS.names():
        cls = WEIGHTERS.get(name)
        assert cls.info.name == name == cls.__module__.rpartition(".")[2]
        assert cls.info.title and cls.info.paper
        assert "departs from" in cls.__doc__.lower() or "as in the paper" in cls.__doc__.lower()
