"""How much a layer's own parameters add to the squared gradient norm of every sample.

A rule sees a layer's input x and the gradient g of its output, both with the samples first, and gives (B,)
squared norms; no gradient of a parameter is ever summed over the batch. A weight that meets L positions of
a sample has the gradient g^T x, with g (L, M) and x (L, K). Its squared norm is either that of the product
itself, L K M multiplications and K M numbers a sample, or the sum over all pairs of positions of
(x x^T) * (g g^T), L^2 (K + M) multiplications: whichever costs less is taken. A convolution is the same
with patches for positions, which are never all unfolded:

- For the product its input is unfolded along its width only. One row of the kernel then meets a slice of
  that, so the gradient is made row by row.
- With stride 1 the pair products of patches are sums of pair products of pixels, shifted along the
  diagonal: pixels are multiplied once, not once for every place of the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from dprune_cli.models.shared_norm import SharedBatchNorm1d, SharedBatchNorm2d

# What reading or writing one number costs, in multiplications; measured on a CPU, and not far off on a GPU.
_MOVE = 30


def squared_norms(layer: nn.Module, names: frozenset[str], x: Tensor, g: Tensor, scratch: int) -> Tensor:
    """(B,) squared norms of the gradients of a layer's parameters, sample by sample.

    Args:
        layer: of a type in `RULES`.
        names: which of its parameters count, "weight" or "bias" or both.
        x: (B, ...) its input.
        g: (B, ...) the loss's gradient in its output.
        scratch: bytes that this may take for a while; one sample is always taken.
    """
    rule, need = RULES[type(layer)]
    size = max(1, scratch // max(1, need(layer, x, g)))
    pieces = zip(torch.split(x, size), torch.split(g, size), strict=True)
    return torch.cat([rule(layer, names, *piece) for piece in pieces])


def _linear(layer: nn.Module, names: frozenset[str], x: Tensor, g: Tensor) -> Tensor:
    x = x.reshape(len(x), -1, x.shape[-1])
    g = g.reshape(len(g), -1, g.shape[-1])
    total = x.new_zeros(len(x))
    if "weight" in names:
        total += _products(x, g)
    if "bias" in names:
        total += g.sum(1).square().sum(1)
    return total


def _linear_need(layer: nn.Module, x: Tensor, g: Tensor) -> int:
    inputs, outputs = x.shape[-1], g.shape[-1]
    positions = x[0].numel() // inputs
    return 4 * (min(inputs * outputs, 3 * positions**2) + x[0].numel() + g[0].numel())


def _products(x: Tensor, g: Tensor) -> Tensor:
    # (B, L, K) and (B, L, M) to (B,) squared norms of g^T x.
    _, positions, inputs = x.shape
    outputs = g.shape[2]
    if positions == 1:
        return x.square().sum((1, 2)) * g.square().sum((1, 2))
    pairs = positions**2 * (inputs + outputs + 3 * _MOVE)
    if inputs * outputs * (positions + _MOVE) <= pairs:
        return _square(torch.bmm(g.transpose(1, 2), x))
    return _pair_sum(torch.bmm(x, x.transpose(1, 2)), g)


def _square(products: Tensor) -> Tensor:
    return torch.linalg.vector_norm(products, dim=(1, 2)).square()


def _pair_sum(pairs: Tensor, g: Tensor) -> Tensor:
    # Rounding can take a sum of both signs below zero.
    return torch.bmm(g, g.transpose(1, 2)).mul_(pairs).sum((1, 2)).clamp_(min=0)


@dataclass(frozen=True)
class _Patches:
    """Sizes of a convolution for one group of channels, and what each way through it costs.

    Attributes:
        groups: of channels.
        inputs, outputs: channels of a group.
        kernel, stride, dilation: down and across.
        padded: height and width of the padded input.
        out: height and width of the output.
    """

    groups: int
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padded: tuple[int, int]
    out: tuple[int, int]

    @property
    def positions(self) -> int:
        return math.prod(self.out)

    @property
    def unfolded(self) -> int:
        """Numbers in the input once it is unfolded along its width."""
        return self.padded[0] * self.out[1] * self.kernel[1] * self.inputs

    def ways(self) -> dict[Callable[[_Patches, Tensor, Tensor], Tensor], tuple[int, int]]:
        """Each way with its cost in multiplications and the numbers it holds, both a group and sample."""
        pixels, weights = math.prod(self.padded), math.prod(self.kernel) * self.inputs * self.outputs
        row = self.positions * self.kernel[1] * self.inputs
        unfolded = self.unfolded + (row if self.stride[0] > 1 else 0)
        ways: dict[Callable[[_Patches, Tensor, Tensor], Tensor], tuple[int, int]] = {
            _by_kernel_rows: (
                weights * (self.positions + _MOVE) + _MOVE * unfolded,
                unfolded + weights // self.kernel[0],
            ),
            _by_pairs_of_patches: (
                self.positions**2 * (math.prod(self.kernel) * self.inputs + self.outputs + 3 * _MOVE)
                + _MOVE * unfolded,
                unfolded + 3 * self.positions**2,
            ),
        }
        if self.stride == (1, 1):
            ways[_by_pairs_of_pixels] = (
                pixels**2 * (self.inputs + self.outputs + _MOVE * (sum(self.kernel) + 1)),
                4 * pixels**2,
            )
        if self.inputs == self.outputs == 1:
            ways = {_by_channel: (0, 2 * self.positions)}
        return ways


def _patches(layer: nn.Conv2d, x: Tensor, g: Tensor) -> _Patches:
    left, right, top, bottom = _padding(layer)
    return _Patches(
        groups=layer.groups,
        inputs=x.shape[1] // layer.groups,
        outputs=g.shape[1] // layer.groups,
        kernel=cast(tuple[int, int], layer.kernel_size),
        stride=cast(tuple[int, int], layer.stride),
        dilation=cast(tuple[int, int], layer.dilation),
        padded=(x.shape[2] + top + bottom, x.shape[3] + left + right),
        out=(g.shape[2], g.shape[3]),
    )


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    # Left, right, top, bottom.
    if layer.padding == "valid":
        return 0, 0, 0, 0
    if layer.padding == "same":
        down, across = (d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
        return across // 2, across - across // 2, down // 2, down - down // 2
    top, left = cast(tuple[int, int], layer.padding)
    return left, left, top, top


def _convolution(layer: nn.Module, names: frozenset[str], x: Tensor, g: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    total = x.new_zeros(len(x))
    if "weight" in names:
        total += _convolution_weight(layer, x, g)
    if "bias" in names:
        total += g.flatten(2).sum(2).square().sum(1)
    return total


def _convolution_weight(layer: nn.Conv2d, x: Tensor, g: Tensor) -> Tensor:
    patches = _patches(layer, x, g)
    padding = _padding(layer)
    if any(padding):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, padding, mode=mode)
    # Channels last: what one position holds then lies together.
    x, g = x.permute(0, 2, 3, 1).contiguous(), g.permute(0, 2, 3, 1).contiguous()
    ways = patches.ways()
    best = min(ways, key=lambda way: ways[way][0])
    return best(patches, x, g).reshape(-1, layer.groups if best is not _by_channel else 1).sum(1)


def _convolution_need(layer: nn.Module, x: Tensor, g: Tensor) -> int:
    assert isinstance(layer, nn.Conv2d)
    patches = _patches(layer, x, g)
    work = min(patches.ways().values())[1] * patches.groups
    return 4 * (work + math.prod(patches.padded) * x.shape[1] + 2 * g[0].numel())


def _by_channel(p: _Patches, x: Tensor, g: Tensor) -> Tensor:
    total = x.new_zeros(len(x))
    for down in range(p.kernel[0]):
        for across in range(p.kernel[1]):
            seen = _rows(_rows(x, p, 0, down), p, 1, across)
            total += (seen * g).sum((1, 2)).square().sum(1)
    return total


def _by_kernel_rows(p: _Patches, x: Tensor, g: Tensor) -> Tensor:
    x, g = _unfold_width(p, x), _positions(p, g).transpose(1, 2)
    return torch.stack([_square(torch.bmm(g, _kernel_row(p, x, row))) for row in range(p.kernel[0])]).sum(0)


def _by_pairs_of_patches(p: _Patches, x: Tensor, g: Tensor) -> Tensor:
    x = _unfold_width(p, x)
    pairs = x.new_zeros(len(x), p.positions, p.positions)
    for row in range(p.kernel[0]):
        seen = _kernel_row(p, x, row)
        pairs.baddbmm_(seen, seen.transpose(1, 2))
    return _pair_sum(pairs, _positions(p, g))


def _by_pairs_of_pixels(p: _Patches, x: Tensor, g: Tensor) -> Tensor:
    width = p.padded[1]
    # Gradients of 0 past the right edge of the output: positions and pixels then count alike.
    g = F.pad(g, (0, 0, 0, width - p.out[1]))
    last = (p.out[0] - 1) * width + p.out[1]
    x = _positions(p, x)
    pixels = torch.bmm(x, x.transpose(1, 2))
    across = _add_shifted(pixels, p.kernel[1], p.dilation[1], pixels.shape[1])
    return _pair_sum(
        _add_shifted(across, p.kernel[0], p.dilation[0] * width, last), _positions(p, g)[:, :last]
    )


def _add_shifted(pairs: Tensor, count: int, step: int, size: int) -> Tensor:
    # The sum of `count` views along the diagonal; of `size` rows, or as many as there are.
    size = min(size, pairs.shape[1] - (count - 1) * step)
    views = [pairs[:, i * step : i * step + size, i * step : i * step + size] for i in range(count)]
    if count == 1:
        return views[0]
    total = views[0] + views[1]
    for view in views[2:]:
        total += view
    return total


def _unfold_width(p: _Patches, x: Tensor) -> Tensor:
    # (B, height, width, C) to (B * groups, height, width of the output, kernel's width * inputs)
    sample, line, pixel, channel = x.stride()
    view = x.as_strided(
        (len(x), p.groups, p.padded[0], p.out[1], p.kernel[1], p.inputs),
        (sample, p.inputs * channel, line, p.stride[1] * pixel, p.dilation[1] * pixel, channel),
    )
    return view.reshape(-1, p.padded[0], p.out[1], p.kernel[1] * p.inputs)


def _kernel_row(p: _Patches, unfolded: Tensor, row: int) -> Tensor:
    # (B * groups, L, kernel's width * inputs): what one row of the kernel meets at every position.
    return _rows(unfolded, p, 0, row).reshape(len(unfolded), p.positions, -1)


def _rows(x: Tensor, p: _Patches, side: int, number: int) -> Tensor:
    # What row (side 0) or column (side 1) `number` of the kernel meets.
    first = number * p.dilation[side]
    last = first + (p.out[side] - 1) * p.stride[side]
    places = slice(first, last + 1, p.stride[side])
    return x[:, places] if side == 0 else x[:, :, places]


def _positions(p: _Patches, values: Tensor) -> Tensor:
    # (B, height, width, groups * channels) to (B * groups, height * width, channels)
    count, height, width, _ = values.shape
    split = values.reshape(count, height * width, p.groups, -1).transpose(1, 2)
    return split.reshape(count * p.groups, height * width, -1)


def _scale_and_shift(names: frozenset[str], normalised: Callable[[], Tensor], g: Tensor, over: int) -> Tensor:
    # `normalised` is what the weight multiplies; it is a fresh tensor, so its memory may be used.
    total = g.new_zeros(len(g))
    if "weight" in names:
        total += normalised().mul_(g).sum(over).square().sum(1)
    if "bias" in names:
        total += g.sum(over).square().sum(1)
    return total


def _channels(x: Tensor) -> Tensor:
    return x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)


def _batch_norm(layer: nn.Module, names: frozenset[str], x: Tensor, g: Tensor) -> Tensor:
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, variance = cast(Tensor, layer.running_mean), cast(Tensor, layer.running_var)
    rate = (variance + layer.eps).rsqrt()
    # The constant factor comes in after the sum, in one number a channel rather than every pixel.
    total = g.new_zeros(len(g))
    g = _channels(g)
    if "weight" in names:
        total += ((_channels(x) - mean[:, None]).mul_(g).sum(2) * rate).square().sum(1)
    if "bias" in names:
        total += g.sum(2).square().sum(1)
    return total


def _layer_norm(layer: nn.Module, names: frozenset[str], x: Tensor, g: Tensor) -> Tensor:
    assert isinstance(layer, nn.LayerNorm)
    shape = list(layer.normalized_shape)
    flat = (len(x), -1, math.prod(shape))
    return _scale_and_shift(
        names, lambda: F.layer_norm(x, shape, eps=layer.eps).reshape(flat), g.reshape(flat), 1
    )


def _group_norm(layer: nn.Module, names: frozenset[str], x: Tensor, g: Tensor) -> Tensor:
    assert isinstance(layer, nn.GroupNorm)
    return _scale_and_shift(
        names, lambda: _channels(F.group_norm(x, layer.num_groups, eps=layer.eps)), _channels(g), 2
    )


def _elementwise_need(layer: nn.Module, x: Tensor, g: Tensor) -> int:
    return 3 * 4 * x[0].numel()


_Rule = Callable[[nn.Module, frozenset[str], Tensor, Tensor], Tensor]
_Need = Callable[[nn.Module, Tensor, Tensor], int]
# By exact type, for subclasses may compute something else. The second function gives bytes a sample.
RULES: dict[type[nn.Module], tuple[_Rule, _Need]] = {
    nn.BatchNorm1d: (_batch_norm, _elementwise_need),
    nn.BatchNorm2d: (_batch_norm, _elementwise_need),
    SharedBatchNorm1d: (_batch_norm, _elementwise_need),
    SharedBatchNorm2d: (_batch_norm, _elementwise_need),
    nn.Conv2d: (_convolution, _convolution_need),
    nn.GroupNorm: (_group_norm, _elementwise_need),
    nn.LayerNorm: (_layer_norm, _elementwise_need),
    nn.Linear: (_linear, _linear_need),
}
