"""Models of a few parameters, for 8 x 8 images; also reached as `toy_models:NAME` by the stages."""

from __future__ import annotations

from torch import nn

SIDE = 8


def linear_net(num_classes):
    """One linear layer: no batch norm, so a sample reaches the weights through its own loss alone."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, num_classes))


def dropout_net(num_classes):
    """Convolution, batch norm and dropout: everything whose state or chance a resumed run must repeat."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, num_classes),
    )
