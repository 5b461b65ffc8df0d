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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dprune_cli.core.errors import ClosedPipe, DpruneError, UsageError

STDOUT = "-"


def check_distinct(**outputs: str | Path | None) -> None:
    """Refuse two outputs of one command in one place; `UsageError` naming their options.

    Args:
        outputs: where each goes, by option (`record_features`); None and `-` go nowhere.
    """
    taken: dict[Path, str] = {}
    for name, path in outputs.items():
        if path is None or str(path) == STDOUT:
            continue
        option = f"--{name.replace('_', '-')}"
        place = Path(path).resolve()
        if place.exists() and not (place.is_file() or place.is_dir()):
            continue  # /dev/null takes everything
        if place in taken:
            raise UsageError(f"{taken[place]} and {option} name the same place, {path}")
        taken[place] = option


def check_output(path: str | Path, *, force: bool, folder: bool = False) -> Path:
    """Refuse an output that could not be written, which may be hours before it is.

    Args:
        path: where it is to be.
        force: what is there may be replaced; an empty folder always may.
        folder: it is a folder, not a file.

    Returns:
        The path with links followed, so that the file is replaced that a link points to, not the link.

    Raises:
        UsageError: something is there, and it is of the other kind or `force` is not given; or it is no
            place for an output at all.
        DpruneError: nothing can be written there.
    """
    target = Path(path)
    if target.is_dir():
        if not folder:
            raise UsageError(f"{target} is a folder; name a file")
        if Path.cwd().is_relative_to(target.resolve()):
            raise UsageError(f"{target} is the folder you are in; name another one")
        if any(target.iterdir()) and not force:
            raise UsageError(f"{target} exists already; give --force to replace it")
    elif target.exists() and not target.is_file():
        raise UsageError(f"{target} is a device or a pipe; write to - and redirect that")
    elif target.exists() and folder:
        raise UsageError(f"{target} is a file; name a folder")
    elif (target.exists() or target.is_symlink()) and not force:
        raise UsageError(f"{target} exists already; give --force to replace it")
    place = Path(os.path.realpath(target))
    _check_writable(target, place)
    return place


def check_apart(output: str | Path, sources: Iterable[str | Path]) -> None:
    """`UsageError` if an output folder holds one of `sources`, which would go when it is replaced."""
    place = os.path.realpath(output)
    for source in sources:
        if Path(os.path.realpath(source)).is_relative_to(place):
            raise UsageError(f"{output} would replace {source}, which is read; name another output")


def _check_writable(target: Path, place: Path) -> None:
    parent = next(above for above in place.parents if above.exists())
    if not parent.is_dir():
        raise DpruneError(f"cannot write {target}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise DpruneError(f"cannot write {target}: nothing may be written in {parent}")


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output for bytes, flushed at the end.

    Raises:
        ClosedPipe: whoever read it has gone.
        DpruneError: it is a file on a full disk, or the like.
    """
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        raise DpruneError(f"cannot write to standard output: {error.strerror}") from error


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
def whole_folder(path: str | Path, *, force: bool = False, resume: str | None = None) -> Iterator[Path]:
    """A folder to fill; it becomes `path` when the block ends without an error.

    Args:
        path: the final folder.
        force: replace what is there.
        resume: name of a file that makes a part worth keeping on failure, to go on with it next time.
    """
    target = check_output(path, force=force, folder=True)
    part = part_path(target)
    with _explained(target):
        part.mkdir(parents=True, exist_ok=True)
        with lock(part):
            if not _can_resume(part, resume):
                _clear(part)
            try:
                yield part
                _swap(part, target)
            except BaseException:
                if not _can_resume(part, resume):
                    shutil.rmtree(part, ignore_errors=True)
                raise


def _can_resume(part: Path, name: str | None) -> bool:
    return name is not None and (part / name).exists()


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
        # Arrow puts words of its own around what the system says, which the number gives plainly.
        why = os.strerror(error.errno) if error.errno else error
        raise DpruneError(f"cannot write {target}: {why}") from error
