"""Locks on what is being written, and folders that take the place of others.

Nothing here may leave a moment in which what was there before is gone and what replaces it is not there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dprune_cli.core.errors import UsageError

# Of renameat2(2): paths as `open` takes them, and both exchanged in one step.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def lock(path: Path, what: object = None, *, create: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file or folder; it ends with its process, however that ends.

    Args:
        path: what is locked.
        what: what a refusal names; default `path`.
        create: makes `path` where it is not there; may be called again.

    Raises:
        UsageError: another process has it.
    """
    handle = _take(path, create)
    if handle is None:
        raise UsageError(f"another command is writing {what or path}")
    try:
        yield
    finally:
        os.close(handle)


def _take(path: Path, create: Callable[[], object] | None) -> int | None:
    """A descriptor with the lock on what is at `path` now; None if another process has it."""
    while True:
        if create is not None:
            create()
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            if create is None:
                raise
            continue  # another command has just renamed it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if create is None or _is_at(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        # Its owner renamed or removed it before letting go of it: it is no longer what is written.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def replace_folder(part: Path, target: Path) -> None:
    """Rename `part` to `target`, and remove what was there."""
    if not (target.exists() and any(target.iterdir())):
        os.rename(part, target)
        return
    old = _old_path(target)
    shutil.rmtree(old, ignore_errors=True)
    if _exchange(part, target):
        os.rename(part, old)
    else:
        os.rename(target, old)
        try:
            os.rename(part, target)
        except BaseException:
            os.rename(old, target)
            raise
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Finish what a killed command began to replace: nothing that was there before is lost."""
    old = _old_path(target)
    if not old.is_dir() or old.is_symlink():
        return
    if target.exists() and any(target.iterdir()):
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(old, target)


def _old_path(target: Path) -> Path:
    return target.absolute().parent / f".{target.absolute().name}.old"


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = (os.fsencode(first), os.fsencode(second))
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0
