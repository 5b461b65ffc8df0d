"""Weights on disk: safetensors, the one format that cannot run code when it is read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.outputs import whole_file
from dprune_cli.io.remote_cache import local_file
from dprune_cli.models.head import find_head

_SUFFIX = ".safetensors"


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write all parameters and buffers; an existing file is replaced.

    Raises:
        DpruneError: the disk is full, or the like.
    """
    # Cloned, because safetensors takes neither channels-last tensors nor two names for one tensor.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    with whole_file(path, force=True) as part:
        try:
            save_file(tensors, part)
        except SafetensorError as error:
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
            raise


def load_weights(model: nn.Module, path: str | Path) -> list[str]:
    """Fill a model from a file of `save_weights`, or of any other tool with the same names.

    A head that is missing from the file, or that was trained for other classes, keeps its fresh
    initialisation: that is transfer learning. Everything else has to fit.

    Args:
        model: is changed in place; not at all if an error is raised.
        path: a `.safetensors` file.

    Returns:
        Names of the tensors that keep their fresh initialisation; empty if the file filled the model.

    Raises:
        UsageError: not a `.safetensors` file.
        DataError: it cannot be read, or a tensor other than the head's is missing, unknown or of another
            shape.
    """
    stored = _read(local_file(path))
    own: dict[str, Tensor] = model.state_dict()
    head = _head_tensors(model)
    fresh = [name for name in own if name in head and not _fits(stored.get(name), own[name])]
    if fresh:
        # Half a head is none: weights of one problem and a bias of another would make no sense.
        fresh = [name for name in own if name in head]
    for name, tensor in own.items():
        if name in fresh:
            continue
        if name not in stored:
            raise DataError(f"{path}: {name} is missing; the file belongs to another model")
        if not _fits(stored[name], tensor):
            raise DataError(
                f"{path}: {name} has shape {tuple(stored[name].shape)}, the model needs {tuple(tensor.shape)}"
            )
    for name in sorted(stored):
        if name not in own:
            raise DataError(f"{path}: the model has no {name}; the file belongs to another model")
    model.load_state_dict(
        {name: tensor for name, tensor in stored.items() if name not in fresh}, strict=False
    )
    return fresh


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != _SUFFIX:
        raise UsageError(f"{path}: only safetensors is read; pickles are never loaded")
    try:
        return load_file(path, device="cpu")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(f"{path} is no safetensors file: {error}") from error


def _head_tensors(model: nn.Module) -> set[str]:
    try:
        name, head = find_head(model)
    except UsageError:
        return set()
    prefix = f"{name}." if name else ""
    return {f"{prefix}{part}" for part, _ in head.named_parameters()}


def _fits(stored: Tensor | None, own: Tensor) -> bool:
    return stored is not None and stored.shape == own.shape
