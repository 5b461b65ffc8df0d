"""The forward pass of a model in training, by one process or by several that share every batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dprune_cli.core import ranks
from dprune_cli.core.errors import UsageError
from dprune_cli.models.compiled import compile_model
from dprune_cli.models.modes import eval_mode
from dprune_cli.models.shared_norm import share_norms

Forward = Callable[[Tensor], Tensor]


def make_forward(model: nn.Module, *, compiled: bool) -> Forward:
    """What a training step calls.

    With several processes the gradients that a backward pass leaves are the mean over all of them, batch
    norms see the batch of all, and every process starts with the weights of the first.

    Args:
        model: its batch norms are replaced in place.
        compiled: through torch.compile.
    """
    forward: nn.Module = model
    if ranks.size() > 1:
        # A static graph, because models may have parameters that no sample ever reaches.
        forward = DistributedDataParallel(share_norms(model), static_graph=True)
    return compile_model(forward) if compiled else forward


def check_empty(model: nn.Module, sample: Tensor) -> None:
    """`UsageError` if a model cannot take a batch of nothing, which several processes meet now and then.

    Args:
        model: left as it is.
        sample: (B, ...) any input.
    """
    if ranks.size() == 1:
        return
    try:
        with eval_mode(model), torch.no_grad():
            model(sample[:0])
    except RuntimeError as error:
        raise UsageError(
            f"the model {type(model).__name__} fails on a batch without samples, which one of several "
            f"processes may get ({str(error).splitlines()[0]}); torch.flatten(x, 1) takes it, x.view does not"
        ) from None
