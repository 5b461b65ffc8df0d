"""`tiny`: a residual network small enough to train on two CPU cores.

A ResNet (He et al., "Deep residual learning for image recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385) with one basic block a stage, 16, 32 and 64 channels and a first
convolution of stride 2; 78,000 parameters for ten classes. On 32 x 32 images it is meant as a query model
where there is no GPU: scores need a model that ranks samples, not one that wins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (16, 32, 64)
# From this side on the first convolution has stride 4, so that photos cost little more than thumbnails.
_LARGE = 96


def tiny(classes: int, image_size: int) -> nn.Module:
    """A `Tiny` for images of this side, laid out channels last, about a quarter faster on CPUs."""
    return Tiny(classes, large=image_size >= _LARGE).to(memory_format=torch.channels_last)


class Tiny(nn.Module):
    """Stem, three residual stages, global average pooling, one linear layer.

    Args:
        classes: outputs.
        large: use the stem for photos, stride 4 instead of 2.
    """

    def __init__(self, classes: int, *, large: bool = False) -> None:
        super().__init__()
        first = _WIDTHS[0]
        self.stem = _convolve(3, first, kernel=7, stride=4) if large else _convolve(3, first, stride=2)
        inputs, stages = first, []
        for width in _WIDTHS:
            stages.append(Block(inputs, width, stride=1 if width == first else 2))
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, 3, S, S), S at least 8."""
        features = self.stages(functional.relu(self.stem(images)))
        # A mean, not adaptive pooling, because its backward pass is deterministic on GPUs as well.
        return self.head(features.mean((2, 3)))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolve(inputs, outputs, stride=stride)
        self.second = _convolve(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _convolve(inputs, outputs, kernel=1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, S, S) to (B, outputs, S / stride, S / stride)."""
        inner = self.second(functional.relu(self.first(features)))
        return functional.relu(inner + self.shortcut(features))


def _convolve(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
