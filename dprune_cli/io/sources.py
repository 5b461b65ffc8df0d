"""What DATA on the command line stands for: folders of images, shards, patterns, standard input.

`locate` expands the same words again later, so that `select` finds the shards of a table through the
root that the table has recorded.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import braceexpand

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.folders import FolderContent, check_content, scan_folder
from dprune_cli.io.outputs import STDOUT, check_output, whole_file

STDIN = STDOUT
SPOOLED = "stdin.tar"
_MOST_EXPANSIONS = 100_000
_URL = re.compile(r"pipe:|[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass
class Located:
    """Where the samples of DATA are.

    Attributes:
        base: folder that shard names are relative to.
        tars: shards, in no order that matters.
        folders: image folders and what they hold.
        beside: folders whose `classes.txt` speaks for the shards: those that were named and those that
            shards are in.
    """

    base: Path = Path()
    tars: list[Path] = field(default_factory=list)
    folders: list[tuple[Path, FolderContent]] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)


def locate(root: str | Sequence[str]) -> Located:
    """Expand DATA, or the recorded root of a table, to shards and image folders.

    Raises:
        UsageError: a URL or shell command, or a pattern that expands to too much.
        DataError: a path is missing, or a folder holds both shards and class folders.
    """
    words = [root] if isinstance(root, str) else list(root)
    located = Located()
    bases: list[Path] = []
    for word in words:
        if word == STDIN:
            raise DataError(
                "the samples came from standard input and were not kept; "
                "score with --spool DIR, or give --data"
            )
        for path in expand(word):
            bases.append(_add(path, located))
    located.base = bases[0] if len(bases) == 1 else _common(bases)
    located.beside += [path.parent for path in located.tars]
    located.beside = list({os.path.abspath(path): path for path in located.beside}.values())
    located.tars = list({os.path.abspath(path): path for path in located.tars}.values())
    located.folders = list(
        {os.path.abspath(path): (path, content) for path, content in located.folders}.values()
    )
    return located


def is_pattern(word: str) -> bool:
    """Whether a word is a brace pattern; a file that has braces in its name is not."""
    return "{" in word and not os.path.exists(word)


def refuse_urls(word: str) -> None:
    """`UsageError` for anything but a path: dprune runs no commands and fetches nothing."""
    if _URL.match(word):
        raise UsageError(f"{word}: is a URL or a command; dprune reads paths and, as -, standard input")


def expand(word: str) -> list[Path]:
    """The paths that a word stands for: itself, or what its braces expand to.

    Raises:
        UsageError: a URL or command, unbalanced braces, or more than 100,000 paths.
    """
    refuse_urls(word)
    if "\0" in word or not word:
        raise UsageError(f"{word!r}: is no path")
    if not is_pattern(word):
        return [Path(word)]
    try:
        names = list(islice(braceexpand.braceexpand(word), _MOST_EXPANSIONS + 1)) if _is_small(word) else None
    except ValueError as error:
        raise UsageError(f"{word}: {str(error).splitlines()[0]}") from None
    if names is None or len(names) > _MOST_EXPANSIONS:
        raise UsageError(f"{word}: expands to more than {_MOST_EXPANSIONS:,} paths")
    for name in names:
        refuse_urls(name)
    return [Path(name) for name in dict.fromkeys(names)]


def _is_small(word: str) -> bool:
    """Whether no range of a pattern is too long; the package builds each of them before the first path."""
    for first, last, step in re.findall(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?\}", word):
        if max(map(len, (first, last, step))) > 18:
            return False
        if abs(int(last) - int(first)) // max(int(step or 1), 1) >= _MOST_EXPANSIONS:
            return False
    return True


def _add(path: Path, located: Located) -> Path:
    """Note the shard or the folder at a path; returns its base."""
    if path.is_dir():
        content = scan_folder(path)
        check_content(path, content)
        located.tars += [path / name for name in content.tars]
        if content.tars:
            located.beside.append(path)
        else:
            located.folders.append((path, content))
        return path
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if not path.is_file():
        raise DataError(f"{path}: is neither a file nor a folder; give - to read a pipe")
    located.tars.append(path)
    return path.parent


def _common(bases: Sequence[Path]) -> Path:
    """The longest common folder, by the words of the paths alone."""
    names = [os.path.normpath(base) for base in bases]
    if any(map(os.path.isabs, names)) or any(name.split(os.sep)[0] == ".." for name in names):
        absolute = [os.path.abspath(name) for name in names]
        common = os.path.commonpath(absolute)
        return Path(common if any(map(os.path.isabs, names)) else os.path.relpath(common))
    return Path(os.path.commonpath([os.path.join(".", name) if name != "." else "." for name in names]))


def relative_name(path: Path, base: Path) -> str:
    """The name of a shard: its path below the base, parts joined by `/`."""
    return Path(os.path.relpath(path, base)).as_posix()


def spool_stdin(spool: str | None, *, force: bool = False) -> str:
    """Write the tar stream on standard input to disk.

    Args:
        spool: folder that keeps it, as `stdin.tar`; None takes a temporary one that goes at exit.
        force: replace a stream that was kept before.

    Returns:
        The folder.

    Raises:
        UsageError: standard input is a terminal, or the folder holds something already.
        DataError: standard input is empty.
    """
    if sys.stdin.isatty():
        raise UsageError("- reads a tar stream from standard input, which is a terminal here; pipe one in")
    if spool is None:
        folder = tempfile.mkdtemp(prefix="dprune-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        folder = spool
        target = Path(spool, SPOOLED)
        if Path(spool).is_dir() and any(item.name != SPOOLED for item in Path(spool).iterdir()):
            raise UsageError(f"{spool}: holds other files; give --spool a folder of its own")
        check_output(target, force=force)
    with whole_file(Path(folder, SPOOLED), force=force) as part:
        with open(part, "wb") as sink:
            shutil.copyfileobj(sys.stdin.buffer, sink, 1 << 20)
        if part.stat().st_size == 0:
            raise DataError("standard input is empty; did the command before the pipe fail?")
    return folder
