"""The resume state of a run: everything that the next epoch depends on, in one file.

Random choices are a function of the seed and the epoch, so no generator state needs to be kept.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from dprune_cli.core.errors import DataError

FORMAT = 2


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and strings; the file is whole or the old one stays."""
    part = path.with_suffix(".part")
    torch.save({"format": FORMAT, **state}, part)
    os.replace(part, path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The saved state, or None if there is none; never unpickles code.

    Raises:
        DataError: the file is no resume state of this format.
    """
    if not path.exists():
        return None
    try:
        # Anything else goes to torch's reader of old files, which fails in its own ways.
        if not zipfile.is_zipfile(path):
            raise EOFError
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        raise DataError(f"{path}: this is no resume state; delete it to start anew") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(f"{path}: the resume state is of another version; delete it to start anew")
    return state
