"""Outputs that appear whole or not at all.

A file or folder is built beside its place, under `.NAME.part`, and renamed when it is complete. The
part is locked while it is written, so of two commands with the same output the second is refused, and
what a killed command left behind is cleared by the next one. What goes to a storage is built in the
cache folder of this user, and uploaded where the other is renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from dprune_cli.core.errors import ClosedPipe, DpruneError, UsageError
from dprune_cli.core.leftovers import unfinished
from dprune_cli.io.remote import Place, RemotePath, parse_place, upload
from dprune_cli.io.remote_cache import cache_home
from dprune_cli.io.remote_out import check_remote_output, is_remote_taken, upload_folder
from dprune_cli.io.replace import lock, recover, replace_folder
from dprune_cli.io.together import alone, is_unfinished, make_way, put_in_place

STDOUT = "-"


def check_distinct(**outputs: str | Place | None) -> None:
    """Refuse two outputs of one command in one place; `UsageError` naming their options.

    Args:
        outputs: where each goes, by option (`record_features`); None and `-` go nowhere.
    """
    taken: dict[Place, str] = {}
    for name, path in outputs.items():
        if path is None or str(path) == STDOUT:
            continue
        option = f"--{name.replace('_', '-')}"
        target = parse_place(path)
        if isinstance(target, Path):
            target = target.resolve()
            is_unfinished(target)  # clears a mark that means nothing any more
            if target.exists() and not (target.is_file() or target.is_dir()):
                continue  # /dev/null takes everything
        if target in taken:
            raise UsageError(f"{taken[target]} and {option} name the same place, {path}")
        taken[target] = option


def check_output(path: str | Place, *, force: bool, folder: bool = False) -> Place:
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
    target = parse_place(path)
    if isinstance(target, RemotePath):
        check_remote_output(target, force=force, folder=folder)
        return target
    force = force or is_unfinished(target)
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
    real = Path(os.path.realpath(target))
    _check_writable(target, real)
    return real


def is_taken(folder: Place) -> bool:
    """Whether something is in an output folder already."""
    if isinstance(folder, RemotePath):
        return is_remote_taken(folder)
    return folder.is_dir() and any(folder.iterdir())


def check_apart(output: str | Place, sources: Iterable[str | Place]) -> None:
    """`UsageError` if an output folder holds one of `sources`, which would go when it is replaced."""
    for source in sources:
        if inside(source, output) is not None:
            raise UsageError(f"{output} would replace {source}, which is read; name another output")


def inside(path: str | Place, folder: str | Place) -> str | None:
    """The name of a path below a folder, links followed; None if it is elsewhere.

    >>> inside("a/b/c", "a"), inside("s3://a/b/", "s3://a/b"), inside("s3://a/bc", "s3://a/b")
    ('b/c', '.', None)
    """
    inner, outer = (
        str(found) if isinstance(found := parse_place(one), RemotePath) else os.path.realpath(found)
        for one in (path, folder)
    )
    if inner == outer:
        return "."
    below = outer.rstrip("/") + "/"
    return inner.removeprefix(below) if inner.startswith(below) else None


def _check_writable(target: Path, real: Path) -> None:
    parent = next(above for above in real.parents if above.exists())
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


def part_path(path: str | Place) -> Path:
    """Where an output is built before it is renamed or uploaded into place."""
    target = parse_place(path)
    if isinstance(target, RemotePath):
        # A name of its own for every URL, so that an unfinished run is found again.
        digest = hashlib.sha256(target.url.encode()).hexdigest()
        return cache_home() / "outputs" / f".{digest[:16]}-{target.name}.part"
    return target.absolute().parent / f".{target.absolute().name}.part"


@contextmanager
def whole_file(path: str | Place, *, force: bool = False, at_once: bool = False) -> Iterator[Path]:
    """A path to write to; it becomes `path` when the block ends without an error.

    Args:
        path: the final file.
        force: replace what is there.
        at_once: do not wait for other outputs; see `together.all_or_nothing`.
    """
    target = check_output(path, force=force)
    make_way(_local(target))
    part = part_path(target)

    def put() -> None:
        with explained(target):
            if not isinstance(target, RemotePath):
                os.replace(part, target)
                return
            with _kept(part):
                upload(part, target)
            part.unlink()

    with explained(target), ExitStack() as held:
        part.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock(part, target, create=part.touch))
        held.enter_context(unfinished(lambda: part.unlink(missing_ok=True)))
        # Again: another command may have finished it in the meantime.
        check_output(path, force=force)
        yield part
        _sync(part)
        put_in_place(held, _local(target), put, at_once=at_once)


@contextmanager
def whole_folder(
    path: str | Place, *, force: bool = False, resume: str | None = None, at_once: bool = False
) -> Iterator[Path]:
    """A folder to fill; it becomes `path` when the block ends without an error.

    Args:
        path: the final folder.
        force: replace what is there.
        resume: name of a file that makes a part worth keeping on failure, to go on with it next time.
        at_once: do not wait for other outputs; see `together.all_or_nothing`.
    """
    target = check_output(path, force=force, folder=True)
    make_way(_local(target))
    part = part_path(target)

    def remove() -> None:
        if not _can_resume(part, resume):
            shutil.rmtree(part, ignore_errors=True)

    def put() -> None:
        with explained(target):
            if isinstance(target, Path):
                replace_folder(part, target)
                return
            with _kept(part, move=not _can_resume(part, resume)):
                upload_folder(part, target)
            shutil.rmtree(part)

    with explained(target), ExitStack() as held:
        part.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock(part, target, create=lambda: part.mkdir(exist_ok=True)))
        held.enter_context(unfinished(remove))
        if isinstance(target, Path):
            recover(target)
        check_output(path, force=force, folder=True)
        if not _can_resume(part, resume):
            _clear(part)
        with alone():
            yield part
        put_in_place(held, _local(target), put, at_once=at_once)


def _local(target: Place) -> Path | None:
    return target if isinstance(target, Path) else None


@contextmanager
def _kept(part: Path, *, move: bool = True) -> Iterator[None]:
    """If the block fails, keep what was to be uploaded: it may have taken hours to make."""
    try:
        yield
    except DpruneError as error:
        kept = part
        if move:
            kept = part.with_name(part.name.removeprefix(".").removesuffix(".part"))
            replace_folder(part, kept) if part.is_dir() else os.replace(part, kept)
        raise DpruneError(f"{error}; what was made is kept as {kept}") from None


def _can_resume(part: Path, name: str | None) -> bool:
    return name is not None and (part / name).exists()


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
def explained(target: object) -> Iterator[None]:
    """What the system says of a write that fails in the block, as a `DpruneError` that names `target`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # Arrow puts words of its own around what the system says, which the number gives plainly.
        why = os.strerror(error.errno) if error.errno else error
        raise DpruneError(f"cannot write {target}: {why}") from error
