"""From a model's name to a freshly initialised network.

A name is one of dprune's own (`tiny`, `resnet18`, ...), `torchvision:NAME` for any torchvision classifier,
or `package.module:factory` for the user's own. Nothing here imports torch until a model is built, so that
the names can be listed for `--help`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from dprune_cli.core.errors import UsageError
from dprune_cli.core.seeds import derive

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[[int, int], nn.Module]

# Name -> (module, function). The function is called as function(classes, image_size).
_BUILDERS = {
    "resnet18": ("resnet_cifar", "resnet18"),
    "resnet34": ("resnet_cifar", "resnet34"),
    "resnet50": ("resnet_cifar", "resnet50"),
    "tiny": ("tiny", "tiny"),
    "vgg16": ("vgg_cifar", "vgg16"),
    "vgg19": ("vgg_cifar", "vgg19"),
}
_OTHERS = "torchvision:NAME or package.module:factory"


def model_names() -> list[str]:
    """The names of dprune's own models, sorted."""
    return sorted(_BUILDERS)


def default_model(device_type: str) -> str:
    """The model that is used when none is named.

    >>> default_model("cpu"), default_model("cuda")
    ('tiny', 'resnet18')
    """
    return "tiny" if device_type == "cpu" else "resnet18"


def is_of_the_user(name: str) -> bool:
    """Whether a model is code of the user's, which may be another one tomorrow under the same name.

    >>> is_of_the_user("mine.nets:small"), is_of_the_user("torchvision:resnet18"), is_of_the_user("tiny")
    (True, False, False)
    """
    return ":" in name and not name.startswith("torchvision:")


def build_model(name: str, classes: int, image_size: int, *, seed: int) -> nn.Module:
    """A freshly initialised network for images (B, 3, image_size, image_size) with logits (B, classes).

    The same name, sizes and seed give the same weights; the global random state is left as it was. The
    model has passed blank images once, and knows the name of its head (`head.HEAD`).

    Args:
        name: see the head of this module.
        classes: at least 1.
        image_size: side of the input in pixels, at least 8.
        seed: of the initial weights.

    Raises:
        UsageError: there is no such model, or it cannot be built for these images, or it gives anything
            but such logits for them.
    """
    import torch

    from dprune_cli.models.trial import try_model

    if image_size < 8:
        raise UsageError(f"images of {image_size} pixels are too small for a model; use at least 8")
    builder = _find_builder(name)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also reseed the generators of the GPUs.
        torch.default_generator.manual_seed(derive(seed, "model"))
        model = builder(classes, image_size)
        try_model(model, name, classes, image_size)
    return model


def _find_builder(name: str) -> Builder:
    family, colon, rest = name.partition(":")
    if family == "torchvision" and colon:
        from dprune_cli.models.from_torchvision import torchvision_model

        return lambda classes, image_size: torchvision_model(rest, classes, image_size)
    if colon:
        from dprune_cli.models.from_factory import factory_model

        return lambda classes, image_size: factory_model(family, rest, classes)
    if name not in _BUILDERS:
        near = get_close_matches(name, model_names(), n=2) or model_names()
        raise UsageError(f"there is no model called {name!r}; try {', '.join(near)}, {_OTHERS}")
    module, function = _BUILDERS[name]
    return getattr(importlib.import_module(f"dprune_cli.models.{module}"), function)
