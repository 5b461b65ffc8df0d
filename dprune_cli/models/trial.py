"""One pass of a new model over two blank images: does it fit them, and which layer makes the logits?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dprune_cli.core.errors import UsageError
from dprune_cli.models.head import HEAD, find_head
from dprune_cli.models.modes import eval_mode

_BATCH = 2
# All that the forward pass of a model raises when the images are not what it was made for.
_MISFITS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)

# Name and output of every linear layer, in the order of the calls.
Calls = list[tuple[str, Any]]


def try_model(model: nn.Module, name: str, classes: int, image_size: int) -> None:
    """Pass two blank images through a model, and write down its head in the attribute `HEAD`.

    Parameters, buffers and modes stay as they are. Randomness that is left in eval mode comes from the
    global generator: the caller forks it.

    Args:
        model: takes images (B, 3, image_size, image_size).
        name: what the user calls it.
        classes: C, the logits that it should give for an image.
        image_size: side of the images in pixels.

    Raises:
        UsageError: it cannot take such images, or gives anything but logits (B, C).
    """
    first = next(model.parameters(), torch.empty(0))
    blank = torch.zeros(_BATCH, 3, image_size, image_size, device=first.device)
    # As in training, where a model that asks for contiguous pixels would fail.
    blank = blank.to(memory_format=torch.channels_last)
    with eval_mode(model), _watch(model) as calls, torch.no_grad():
        try:
            logits = model(blank)
        except _MISFITS as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"model {name} cannot take images of {image_size} pixels ({reason}); "
                "choose another --image-size or --model"
            ) from error
    _check_logits(logits, name, classes, image_size)
    setattr(model, HEAD, _name_head(model, calls, logits, classes))


@contextmanager
def _watch(model: nn.Module) -> Iterator[Calls]:
    calls: Calls = []
    hooks = [
        module.register_forward_hook(partial(_note, calls, name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _note(calls: Calls, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    # The tensor itself, not its address: memory that is let go of may be used again for the logits.
    calls.append((name, output))


def _check_logits(logits: Any, name: str, classes: int, image_size: int) -> None:
    wanted = f"logits of shape ({_BATCH}, {classes})"
    where = f"for {_BATCH} images of {image_size} pixels"
    if not isinstance(logits, Tensor):
        raise UsageError(f"model {name} gives a {type(logits).__name__} {where}, not {wanted}")
    if logits.shape != (_BATCH, classes):
        raise UsageError(f"model {name} gives a tensor of shape {tuple(logits.shape)} {where}, not {wanted}")


def _name_head(model: nn.Module, calls: Calls, logits: Tensor, classes: int) -> str | None:
    called = [
        (name, output)
        for name, output in calls
        if isinstance(output, Tensor) and model.get_submodule(name).out_features == classes
    ]
    for name, output in reversed(called):
        if output.data_ptr() == logits.data_ptr():
            return name
    if called:  # something follows the head, such as a scale
        return called[-1][0]
    try:
        return find_head(model, classes)[0]
    except UsageError:
        return None
