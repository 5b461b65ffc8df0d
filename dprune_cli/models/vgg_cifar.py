"""`vgg16`, `vgg19`: VGG with batch norm, with a light head for thumbnails.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
https://arxiv.org/abs/1409.1556. For images of at most 64 pixels the three wide linear layers make way for
global average pooling and one linear layer, as is usual on CIFAR; larger images get torchvision's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import models

_SMALL = 64
_WIDTHS = (64, 128, 256, 512, 512)


def vgg16(classes: int, image_size: int) -> nn.Module:
    """VGG-16 with batch norm; D = 512 for small images, else 4096."""
    if image_size <= _SMALL:
        return VggSmall(classes, (2, 2, 3, 3, 3)).to(memory_format=torch.channels_last)
    return models.vgg16_bn(weights=None, num_classes=classes).to(memory_format=torch.channels_last)


def vgg19(classes: int, image_size: int) -> nn.Module:
    """VGG-19 with batch norm; D = 512 for small images, else 4096."""
    if image_size <= _SMALL:
        return VggSmall(classes, (2, 2, 4, 4, 4)).to(memory_format=torch.channels_last)
    return models.vgg19_bn(weights=None, num_classes=classes).to(memory_format=torch.channels_last)


class VggSmall(nn.Module):
    """Five stages of 3x3 convolutions and max-pooling, then global average pooling and a linear layer.

    Args:
        classes: outputs.
        depths: convolutions in each of the five stages.
    """

    def __init__(self, classes: int, depths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, depth in zip(_WIDTHS, depths, strict=True):
            for _ in range(depth):
                layers += [
                    nn.Conv2d(inputs, width, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                inputs = width
            # Rounding up lets images below 32 pixels pass all five stages.
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, 3, S, S), S at least 8."""
        return self.head(self.features(images).mean((2, 3)))
