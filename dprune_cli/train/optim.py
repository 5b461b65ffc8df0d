"""SGD, its learning rate as a function of the step, and what is said when it diverges."""

from __future__ import annotations

import math

import torch
from torch import nn

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import DpruneError


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD over all parameters; the rate is set a step by `learning_rate`."""
    return torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def learning_rate(config: TrainConfig, step: int, steps: int, steps_per_epoch: float) -> float:
    """The rate of step 0 ... steps - 1: linear warm-up, then the schedule over what is left.

    A pure function of the step, so a resumed run needs no scheduler state.

    >>> config = TrainConfig(lr=1.0, schedule="step", milestones="0.5,0.75", lr_drop=0.1)
    >>> [round(learning_rate(config, step, 8, 1), 3) for step in range(8)]
    [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    warm = min(round(config.warmup * steps_per_epoch), steps - 1)
    if step < warm:
        return config.lr * (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * config.lr_drop ** sum(step >= drop * steps for drop in config.drops())
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def refuse_divergence(model: nn.Module, epoch: int, loss: float) -> None:
    """`DpruneError` if the loss of an epoch, or a weight after it, is no longer a finite number."""
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    if not (finite and math.isfinite(loss)):
        raise DpruneError(f"training diverged in epoch {epoch} (loss {loss}); lower --lr or set --clip-norm")
