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

from dprune_cli.core.errors import DataError, DpruneError

FORMAT = 3

_ZIP = b"PK\x03\x04"
# What torch raises for files that are damaged; memory runs out where one claims a huge tensor.
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and strings; the file is whole or the old one stays.

    Raises:
        DpruneError: the disk is full, or the like.
    """
    part = path.with_suffix(".part")
    try:
        # Given a name instead of a file, torch says only that it failed.
        with open(part, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        # Closing its archive, torch complains again, about what is missing there.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise DpruneError(f"cannot write {path}: {cause.strerror or cause}") from error


def load_state(path: Path) -> dict[str, Any] | None:
    """The saved state, or None if there is none; never unpickles code.

    Raises:
        DataError: the file is no resume state of this format.
    """
    if not path.exists():
        return None
    try:
        # Anything else goes to torch's reader of old files. Torch looks at the start, `zipfile` at the end.
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP or not zipfile.is_zipfile(file):
                raise EOFError
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE:
        raise DataError(f"{path}: this is no resume state; delete it to start anew") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(f"{path}: the resume state is of another version; delete it to start anew")
    return state
