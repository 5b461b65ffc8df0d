"""Batch norms over the batch of all processes, so that a model does not see how many there are.

PyTorch's own, `nn.SyncBatchNorm`, refuses CPUs, and a model should train alike on both.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dprune_cli.core import ranks


def share_norms(model: nn.Module) -> nn.Module:
    """The model with `SharedBatchNorm`s in place of its batch norms; weights and their names stay.

    Args:
        model: changed in place, but for a model that is nothing but a batch norm.
    """
    if type(model) in _SHARED:
        return _shared(model, _SHARED[type(model)])
    for name, child in model.named_children():
        setattr(model, name, share_norms(child))
    return model


def _shared(norm: nn.Module, kind: type[_SharedBatchNorm]) -> nn.Module:
    shared = kind.__new__(kind)
    # Everything that it holds, hooks and registered tensors included.
    shared.__dict__ = norm.__dict__
    return shared


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; gradients are summed likewise."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalises by the mean and variance over the samples of all processes, of which some may have none."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C) or (B, C, ...) to the same shape."""
        from_batch = self.training or self.running_mean is None
        if not from_batch or ranks.size() == 1:
            return super().forward(inputs)
        self._check_input_dim(inputs)  # type: ignore[no-untyped-call]
        values = inputs.float()
        over = [axis for axis in range(inputs.ndim) if axis != 1]
        count = _Sum.apply(torch.tensor(values.numel() / values.shape[1], device=values.device))
        shape = (1, -1, *[1] * (inputs.ndim - 2))
        mean = _Sum.apply(values.sum(over)) / count
        centred = values - mean.view(shape)
        # In two steps, because a difference of squares would lose the digits that small variances need.
        variance = _Sum.apply(centred.square().sum(over)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(inputs.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class SharedBatchNorm1d(_SharedBatchNorm, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over all processes."""


class SharedBatchNorm2d(_SharedBatchNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all processes."""


class SharedBatchNorm3d(_SharedBatchNorm, nn.BatchNorm3d):
    """`nn.BatchNorm3d` over all processes."""


_SHARED: dict[type[nn.Module], type[_SharedBatchNorm]] = {
    nn.BatchNorm1d: SharedBatchNorm1d,
    nn.BatchNorm2d: SharedBatchNorm2d,
    nn.BatchNorm3d: SharedBatchNorm3d,
}
