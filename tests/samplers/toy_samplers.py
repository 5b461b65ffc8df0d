"""Samplers that are driven by hand: a run without a model, and batches with given losses."""

from __future__ import annotations

import numpy as np
import torch
from tiny_data import SIZES

from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.observe import BatchObs, Phase, RunInfo


def start_sampler(spec, visits=None, sizes=SIZES, epochs=4, bad=(), **info):
    """A sampler over classes of these sizes, one after the other; `bad` rows cannot be used."""
    target = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    target[list(bad)] = -1
    run = RunInfo([str(row) for row in range(len(target))], target, len(sizes), epochs, **info)
    sampler = SAMPLERS.make(spec)
    sampler.start(run, visits)
    return sampler


def show_losses(sampler, rows, losses):
    """One batch with these losses, of one number or as many as there are rows, and nothing else of use."""
    rows = torch.as_tensor(rows)
    losses = torch.as_tensor(losses, dtype=torch.float32).expand(len(rows))
    sampler.update(BatchObs(Phase.TRAIN, 1, rows, rows * 0, torch.zeros(len(rows), 1), losses))


def drive(sampler, losses, seed=0):
    """The plans of a run whose epoch t shows the losses (E, N) of the rows that it visits."""
    plans = []
    for epoch, loss in enumerate(losses, 1):
        plans.append(sampler.plan(epoch, numpy_rng(seed, epoch)))
        show_losses(sampler, plans[-1].rows.copy(), loss[plans[-1].rows])
    return plans


def draw_losses(epochs, samples=40, seed=0):
    """(E, N) losses, all different."""
    return np.random.default_rng(seed).gamma(1.0, 1.0, (epochs, samples)).astype(np.float32)
