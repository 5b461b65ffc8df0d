"""Train and eval mode of models of which parts are to stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_FROZEN = "dprune_frozen"


def mark_frozen(model: nn.Module) -> None:
    """Let `train_mode` leave everything in eval mode that has no parameter to train."""
    setattr(model, _FROZEN, True)


def train_mode(model: nn.Module) -> None:
    """Put a model into train mode, but for the frozen parts of one that `mark_frozen` was told of.

    In train mode the batch norms of a frozen backbone would go on to follow the data, and its dropouts, also
    one right before the head, would show the head other features than it sees when it is evaluated.
    """
    model.train()
    # By this mark, for a model may hold constants of its own among its parameters, and keeps its dropout.
    if not getattr(model, _FROZEN, False):
        return
    for module in model.modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            module.training = False


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and afterwards every layer as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        # One by one, because single layers may have been in eval mode.
        for module, training in before:
            module.training = training
