from __future__ import annotations

import pytest
import torch
from gradients import CLASSES, check, head
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dprune_cli.train import grad_rules


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 1, "bias": False},
        {"padding": "same", "dilation": 2},
        {"padding": "same", "kernel_size": 4},
        {"padding": "valid"},
        {"stride": 2},
        {"stride": (3, 2), "padding": (0, 2)},
        {"stride": 2, "dilation": (1, 2), "padding": 3},
        {"groups": 2, "padding": 1},
        {"groups": 2, "stride": 2},
        {"groups": 4, "padding": 2, "dilation": 2},
        {"groups": 4, "stride": 2, "out_channels": 8},
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2, "groups": 2},
        {"kernel_size": (1, 5), "padding": (0, 2)},
        {"kernel_size": (5, 1), "stride": (1, 2)},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": "same", "padding_mode": "replicate", "kernel_size": 4},
    ],
    ids=str,
)
def test_convolutions(options):
    options = {"in_channels": 4, "out_channels": 4, "kernel_size": 3} | options
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(**options), nn.Tanh())
    check(Sums(model, options["out_channels"]), "hooks")


class Sums(nn.Module):
    """A body, and a head whose inputs are positions weighed unequally."""

    def __init__(self, body, channels):
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, CLASSES)

    def forward(self, images):
        features = self.body(images).flatten(2)
        return self.head((features * torch.arange(1.0, features.shape[2] + 1)).mean(2))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_all_ways_through_a_convolution_agree(stride, dilation, groups):
    layer = nn.Conv2d(4, 6, (3, 2), stride, (2, 1), dilation, groups)
    x = torch.randn(3, 4, 9, 7, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    right = [
        torch.autograd.grad(layer(x[i : i + 1]), layer.weight, g[i : i + 1])[0].square().sum()
        for i in range(3)
    ]
    patches = grad_rules._patches(layer, x, g)
    padded = F.pad(x, (1, 1, 2, 2)).permute(0, 2, 3, 1).contiguous()
    ways = patches.ways()
    assert len(ways) == (3 if stride == 1 else 2)
    for way in ways:
        got = way(patches, padded, g.permute(0, 2, 3, 1).contiguous()).reshape(3, groups).sum(1)
        torch.testing.assert_close(got, torch.stack(right), rtol=1e-4, atol=0)


def test_the_cheapest_way_is_taken():
    def cheapest(channels, side, stride=1):
        layer = nn.Conv2d(channels, channels, 3, stride, 1)
        shape = 1, channels, side, side
        patches = grad_rules._patches(
            layer, torch.empty(shape), torch.empty(1, channels, *[side // stride] * 2)
        )
        ways = patches.ways()
        return min(ways, key=lambda way: ways[way][0]).__name__

    assert cheapest(64, 32) == cheapest(16, 16) == "_by_kernel_rows"
    assert cheapest(512, 4) == cheapest(256, 8) == "_by_pairs_of_pixels"
    assert cheapest(512, 4, stride=2) == "_by_pairs_of_patches"


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm2d(3), nn.ReLU(inplace=True), *head(192)],
        [nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)],
        [nn.Flatten(2), nn.BatchNorm1d(3, affine=False), nn.Linear(64, 4, bias=False), *head(12)],
        [nn.Flatten(2), nn.BatchNorm1d(3), nn.Linear(64, 4), nn.Tanh(), *head(12)],
        [nn.LayerNorm((3, 8, 8)), *head(192)],
        [nn.LayerNorm(8, bias=False), nn.Linear(8, 2), nn.GELU(), *head(48)],
        [nn.Flatten(), nn.LayerNorm(192), nn.Linear(192, CLASSES)],
        [nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(inplace=True), *head(144)],
        [nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.ReLU(inplace=True), *head(144)],
    ],
    ids=str,
)
def test_other_layers(layers):
    check(nn.Sequential(*layers), "hooks")


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 300), (300, 2), (40, 30)])
def test_linear_layers_on_sequences(inputs, outputs):
    model = nn.Sequential(nn.Flatten(2), nn.Linear(64, inputs), nn.Tanh(), nn.Linear(inputs, outputs))
    check(nn.Sequential(model, nn.Tanh(), *head(3 * outputs)), "hooks")
