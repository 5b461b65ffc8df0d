"""`resnet18`, `resnet34`, `resnet50`: torchvision's, with the usual stem for thumbnails.

For images of at most 64 pixels the first convolution is 3x3 with stride 1 and there is no max-pooling, as
in every paper that reports ResNets of these names on CIFAR; larger images get torchvision's own network.
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision import models

_SMALL = 64


def resnet18(classes: int, image_size: int) -> nn.Module:
    """ResNet-18, D = 512."""
    return _adapt(models.resnet18(weights=None, num_classes=classes), image_size)


def resnet34(classes: int, image_size: int) -> nn.Module:
    """ResNet-34, D = 512."""
    return _adapt(models.resnet34(weights=None, num_classes=classes), image_size)


def resnet50(classes: int, image_size: int) -> nn.Module:
    """ResNet-50, D = 2048."""
    return _adapt(models.resnet50(weights=None, num_classes=classes), image_size)


def _adapt(model: models.ResNet, image_size: int) -> nn.Module:
    if image_size <= _SMALL:
        model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model.to(memory_format=torch.channels_last)
