"""Temporary folders that go with their command; the next one clears those of a command that was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dprune_cli.core.errors import UsageError
from dprune_cli.core.leftovers import unfinished
from dprune_cli.io.replace import lock

_PREFIX = "dprune-"
# A folder that has this file is one of ours, and in use as long as the file is locked.
_MARK = ".in-use-by-dprune"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder that is gone after the block."""
    _clear_abandoned(Path(tempfile.gettempdir()))
    outer = Path(tempfile.mkdtemp(prefix=_PREFIX))
    remove = partial(shutil.rmtree, outer, ignore_errors=True)
    try:
        with unfinished(remove), lock(outer / _MARK, create=(outer / _MARK).touch):
            inner = outer / "files"
            inner.mkdir()
            yield inner
    finally:
        remove()


def _clear_abandoned(place: Path) -> None:
    """Remove what killed commands of this user left."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with lock(folder / _MARK):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, UsageError):
            # Not one of ours, gone already, or still in use.
            continue
