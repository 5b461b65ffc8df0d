"""`torchvision:NAME`: any image classifier of torchvision, freshly initialised; nothing is downloaded."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from torch import nn
from torchvision import models

from dprune_cli.core.errors import UsageError

# Their auxiliary classifiers would make the output a tuple while training, and without a word on
# initialisation they warn.
_INCEPTIONS = ("googlenet", "inception_v3")


def torchvision_model(name: str, classes: int, image_size: int) -> nn.Module:
    """The torchvision classifier `name` for images of this side; `UsageError` if there is none."""
    known = models.list_models(module=models)
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"try {', '.join(near)}" if near else f"it has {len(known)}, among them resnet18 and vit_b_16"
        raise UsageError(f"torchvision has no classifier called {name!r}; {hint}")
    options: dict[str, Any] = {}
    if name in _INCEPTIONS:
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": image_size}
    try:
        return models.get_model(name, weights=None, num_classes=classes, **options)
    except (AssertionError, ValueError) as error:
        raise UsageError(f"torchvision:{name} cannot take images of {image_size} pixels: {error}") from error
