"""Outputs that appear whole or not at all.

A file or folder is built beside its place, under `.NAME.part`, and renamed when it is complete. The
part is locked while it is written, so of two commands with the same output the second is refused, and
what a killed command left behind is cleared by the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dprune_cli.core.errors import DpruneError, UsageError

STDOUT = "-"


def check_output(path: str | Path, *, force: bool) -> Path:
    """The output path; `UsageError` if something is there already and `force` is not given."""
    target = Path(path)
    if target.is_dir() and not any(target.iterdir()):
        return target
    if (target.exists() or target.is_symlink()) and not force:
        raise UsageError(f"{target} exists already; give --force to replace it")
    return target


def check_stdout_is_no_terminal(what: str, option: str) -> None:
    """Refuse to write binary data to a terminal."""
    if sys.stdout.isatty():
        raise UsageError(f"{what} would go to the terminal; give {option} FILE or pipe it on")


def part_path(target: Path) -> Path:
    """Where `target` is built before it is renamed into place."""
    return target.absolute().parent / f".{target.absolute().name}.part"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on an existing file or folder; `UsageError` if another process has it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another command is writing {path}") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write to; it becomes `path` when the block ends without an error."""
    target = check_output(path, force=force)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file")
    part = part_path(target)
    with _explained(target):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        with lock(part):
            try:
                yield part
                _sync(part)
                os.replace(part, target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise


@contextmanager
def whole_folder(path: str | Path, *, force: bool = False, resume: bool = False) -> Iterator[Path]:
    """A folder to fill; it becomes `path` when the block ends without an error.

    Args:
        path: the final folder.
        force: replace what is there.
        resume: keep the part on failure and hand it out again next time, for work that can go on.
    """
    target = check_output(path, force=force)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder")
    part = part_path(target)
    with _explained(target):
        part.mkdir(parents=True, exist_ok=True)
        with lock(part):
            if not resume:
                _clear(part)
            try:
                yield part
                _swap(part, target)
            except BaseException:
                if not resume:
                    shutil.rmtree(part, ignore_errors=True)
                raise


def _swap(part: Path, target: Path) -> None:
    """Rename `part` to `target`, moving what was there aside until the new one stands."""
    if target.exists() and any(target.iterdir()):
        old = target.absolute().parent / f".{target.absolute().name}.old"
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
        os.rename(part, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(part, target)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _sync(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DpruneError(f"cannot write {target}: {error.strerror or error}") from error
