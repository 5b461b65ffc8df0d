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
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

import braceexpand

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.folders import TAR_SUFFIX, FolderContent, check_content, scan_folder, sort_content
from dprune_cli.io.outputs import STDOUT, check_output, whole_file
from dprune_cli.io.remote import Place, RemotePath, list_below, parse_place
from dprune_cli.io.remote_cache import CACHE_BYTES, ShardCache
from dprune_cli.io.remote_out import UNFINISHED
from dprune_cli.io.remote_url import check_url, is_url
from dprune_cli.io.scratch import scratch_folder

STDIN = STDOUT
SPOOLED = "stdin.tar"
_MOST_EXPANSIONS = 100_000
_MOST_NESTED, _MOST_DIGITS = 20, 18
_RANGE = re.compile(r"(?:(-?\d+)\.\.(-?\d+)|([A-Za-z])\.\.([A-Za-z]))(?:\.\.-?(\d+))?")


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

    base: Place = Path()
    tars: list[Place] = field(default_factory=list)
    folders: list[tuple[Place, FolderContent]] = field(default_factory=list)
    beside: list[Place] = field(default_factory=list)


def locate(root: str | Sequence[str], cache_bytes: int = CACHE_BYTES) -> Located:
    """Expand DATA, or the recorded root of a table, to shards and image folders.

    Args:
        root: the words.
        cache_bytes: what local copies of remote shards may take.

    Raises:
        UsageError: a command, a URL that is refused, or a pattern that expands to too much.
        DataError: a path is missing, or a folder holds both shards and class folders.
    """
    words = [root] if isinstance(root, str) else list(root)
    located, cache = Located(), ShardCache(cache_bytes)
    bases: list[Place] = []
    for word in words:
        if word == STDIN:
            raise DataError(
                "the samples came from standard input and were not kept; "
                "score with --spool DIR, or give --data"
            )
        found = [parse_place(name) for name in expand(word)]
        remote = [RemotePath(path.url, cache) for path in found if isinstance(path, RemotePath)]
        cache.ask([path for path in remote if path.name.endswith(TAR_SUFFIX)])
        bases += [_add_remote(path, located, cache) for path in remote]
        bases += [_add(path, located) for path in found if isinstance(path, Path)]
    located.base = bases[0] if len(bases) == 1 else _common(bases)
    located.beside += [path.parent for path in located.tars]
    located.beside = list({_absolute(path): path for path in located.beside}.values())
    located.tars = list({_absolute(path): path for path in located.tars}.values())
    located.folders = list({_absolute(path): (path, content) for path, content in located.folders}.values())
    cache.expect(sorted((path for path in located.tars if isinstance(path, RemotePath)), key=str))
    return located


def is_pattern(word: str) -> bool:
    """Whether a word is a brace pattern; a file that has braces in its name is not."""
    return "{" in word and not os.path.exists(word)


def expand(word: str) -> list[str]:
    """The paths or URLs that a word stands for: itself, or what its braces expand to.

    Raises:
        UsageError: a command, a URL that is refused, unbalanced braces, or more than 100,000 paths.
    """
    check_url(word)
    if "\0" in word or not word:
        raise UsageError(f"{word!r}: is no path")
    if not is_pattern(word):
        return [word]
    try:
        names = list(islice(braceexpand.braceexpand(word), _MOST_EXPANSIONS + 1)) if _is_small(word) else None
    except ValueError as error:
        raise UsageError(f"{word}: {str(error).splitlines()[0]}") from None
    if names is None or len(names) > _MOST_EXPANSIONS:
        raise UsageError(f"{word}: expands to more than {_MOST_EXPANSIONS:,} paths")
    for name in names:
        check_url(name)
    return list(dict.fromkeys(names))


def _is_small(word: str) -> bool:
    """Whether a pattern expands to few enough paths.

    They are counted first, because the package holds whole groups and ranges before the first path, and calls
    itself for every brace inside a brace. A group holds as many as its alternatives together, what stands
    side by side multiplies.
    """
    # One entry a brace that is open: where it opened, alternatives before this one, and of this one.
    open_braces: list[tuple[int, int, int]] = []
    done, here, place = 0, 1, 0
    while place < len(word):
        sign = word[place]
        if sign == "\\":
            place += 1
        elif sign == "{":
            open_braces.append((place + 1, done, here))
            done, here = 0, 1
        elif sign == "," and open_braces:
            done, here = done + here, 1
        elif sign == "}" and open_braces:
            first, done_outside, here_outside = open_braces.pop()
            length = max(done + here, _range_length(word[first:place]))
            done, here = done_outside, here_outside * length
        if here > _MOST_EXPANSIONS or done > _MOST_EXPANSIONS or len(open_braces) > _MOST_NESTED:
            return False
        place += 1
    return True


def _range_length(text: str) -> int:
    """How many names the range between two braces has at most; 1 if it is none."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return 1
    first, last, letter, other, step = match.groups(default="0")
    if max(map(len, (first, last, step))) > _MOST_DIGITS:
        return _MOST_EXPANSIONS + 1
    return abs(int(last) - int(first) + ord(other) - ord(letter)) // max(int(step), 1) + 1


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


def _add_remote(path: RemotePath, located: Located, cache: ShardCache) -> Place:
    """The same in a storage, where a name alone does not say whether there is an object or a folder."""
    if path.name.endswith(TAR_SUFFIX) and path.is_file():
        located.tars.append(path)
        return path.parent
    found = list_below(path)
    if not found:
        raise DataError(f"{path}: there is no such object or folder")
    if list(found) == [""]:
        located.tars.append(path)
        return path.parent
    if UNFINISHED in found:
        raise DataError(f"{path}: was not uploaded to its end; make it again")
    cache.know({path / name: info for name, info in found.items() if info.ranges})
    content = sort_content((name, -1 if info.size is None else info.size) for name, info in found.items())
    check_content(path, content)
    if content.tars:
        located.tars += [path / name for name in content.tars]
        located.beside.append(path)
    else:
        located.folders.append((path, content))
    return path


def _absolute(path: Place) -> str:
    return path.url if isinstance(path, RemotePath) else os.path.abspath(path)


def _common(bases: Sequence[Place]) -> Place:
    """The longest common folder, by the words of the paths alone.

    Raises:
        UsageError: some are in a storage and some are not, or they are in different ones.
    """
    remote = [base for base in bases if isinstance(base, RemotePath)]
    local = [base for base in bases if isinstance(base, Path)]
    if remote:
        # Of `s3://bucket/train` the first two parts are no place yet.
        first, last = (chosen(base.url.split("/") for base in remote) for chosen in (min, max))
        same = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
        if local or len(same) < 3:
            raise UsageError(f"{bases[0]} and {bases[-1]} are in different storages; read one at a time")
        return RemotePath("/".join(same), remote[0].cache)
    names = [os.path.normpath(base) for base in local]
    if any(map(os.path.isabs, names)) or any(name.split(os.sep)[0] == ".." for name in names):
        absolute = [os.path.abspath(name) for name in names]
        common = os.path.commonpath(absolute)
        return Path(common if any(map(os.path.isabs, names)) else os.path.relpath(common))
    return Path(os.path.commonpath([os.path.join(".", name) if name != "." else "." for name in names]))


def relative_name(path: Place, base: Place) -> str:
    """The name of a shard: its path below the base, parts joined by `/`."""
    if isinstance(path, RemotePath) or isinstance(base, RemotePath):
        return str(path).removeprefix(str(base)).lstrip("/") or "."
    return Path(os.path.relpath(path, base)).as_posix()


def below(base: Place, name: str) -> Place:
    """The shard or image file that a table calls `name`.

    Raises:
        DataError: it would lie outside `base`, where no data set of ours has any.
    """
    if not name or "\0" in name or os.path.isabs(name) or ".." in name.split("/"):
        raise DataError(f"shard {name!r}: does not name a file inside {base}; score the data again")
    return base / name


def _holds_others(folder: Path) -> bool:
    """Whether a folder holds more than a kept stream and what a killed command left of one."""
    return any(name != SPOOLED and not name.startswith(f".{SPOOLED}.") for name in os.listdir(folder))


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
    if spool is not None:
        check_url(spool)
    if spool is not None and is_url(spool):
        raise UsageError(f"--spool {spool}: keeps standard input on this machine; name a folder")
    ranks.refuse_stdin("DATA")
    if sys.stdin.isatty():
        raise UsageError("- reads a tar stream from standard input, which is a terminal here; pipe one in")
    if spool is None:
        stack = ExitStack()
        folder = str(stack.enter_context(scratch_folder()))
        atexit.register(stack.close)
    else:
        folder = spool
        target = Path(spool, SPOOLED)
        if Path(spool).is_dir() and _holds_others(Path(spool)):
            raise UsageError(f"{spool}: holds other files; give --spool a folder of its own")
        check_output(target, force=force)
    with whole_file(Path(folder, SPOOLED), force=force, at_once=True) as part:
        with open(part, "wb") as sink:
            shutil.copyfileobj(sys.stdin.buffer, sink, 1 << 20)
        if part.stat().st_size == 0:
            raise DataError("standard input is empty; did the command before the pipe fail?")
    return folder
