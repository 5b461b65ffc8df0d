"""Objects of a storage behind a URL: `s3://`, `gs://`, `hf://`, `https://`, whatever `fsspec` knows.

This is the only module that talks to `fsspec`, which is imported when the first URL is used. Nothing here
runs a command or follows a URL to another one; credentials come from the environment, never from a URL,
and what a storage library says in its errors is not repeated, since that may hold some.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, overload

from dprune_cli.core.errors import DataError, DpruneError, UsageError
from dprune_cli.io.remote_retry import Problem, in_flight, retried
from dprune_cli.io.remote_url import LOCAL, URL, WEB, check_url

Describe = Callable[[Problem], DpruneError]

# An object of these appears whole when its upload ends; the others show what has arrived so far.
_ATOMIC = re.compile("abfss?|adl|az|gcs|gs|hf|memory|oci|oss|s3a?|tos")
# What tells two contents of one object apart, the best first.
_VERSIONS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "blob_id", "sha256", "checksum", "generation")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
_CHUNK = 1 << 23


@dataclass(frozen=True)
class Info:
    """What a storage says of an object.

    Attributes:
        size: bytes; None if it does not say.
        version: changes with the content.
        folder: it is no object but the common beginning of several.
        ranges: parts of it can be read.
    """

    size: int | None
    version: str
    folder: bool = False
    ranges: bool = True


class Copies(Protocol):
    """What keeps local copies of objects, and what the storage said of them."""

    @property
    def holds_all(self) -> bool:
        """Whether the objects that are expected have room at the same time."""

    def info(self, path: RemotePath) -> Info | None:
        """What the storage said of an object when it was first asked; None if there is none."""

    def need_info(self, path: RemotePath) -> Info:
        """The same; `DataError` if there is no such object."""

    def open_held(self, path: RemotePath) -> int | None:
        """A descriptor of the local copy, if there is one."""

    def open(self, path: RemotePath) -> int:
        """A descriptor of the local copy, which is fetched if need be."""


@dataclass(frozen=True)
class RemotePath:
    """A URL with the parts of `pathlib.Path` that are needed here; `Path` would make one slash of two.

    Attributes:
        url: without a slash at its end.
        cache: keeps local copies of shards; None for what is read once.
    """

    url: str
    cache: Copies | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return self if name in ("", ".") else RemotePath(f"{self.url}/{name}", self.cache)

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """What precedes the last slash; a bucket or host is its own parent."""
        above = self.url.rpartition("/")[0]
        return self if above.endswith("/") else RemotePath(above, self.cache)

    @property
    def protocol(self) -> str:
        """`s3`, `https`, ..."""
        return self.url.partition("://")[0]

    def is_file(self) -> bool:
        """Whether there is such an object.

        Raises:
            DataError: the storage does not answer.
        """
        found = self.cache.info(self) if self.cache is not None else find_info(self)
        return found is not None and not found.folder

    def size(self) -> int:
        """Bytes of the content.

        Raises:
            DataError: there is no such object, or the storage does not say.
        """
        found = self.cache.info(self) if self.cache is not None else find_info(self)
        if found is None or found.size is None:
            raise DataError(f"{self}: there is no such object")
        return found.size

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            DataError: there is no such object, or it cannot be read.
        """
        store, path = _open(self)
        return retried(lambda: store.cat_file(path), self.cannot_read)

    def read_range(self, start: int, stop: int) -> bytes:
        """Some bytes of the content.

        Raises:
            DataError: it cannot be read, or is shorter.
        """
        store, path = _open(self)
        found = retried(lambda: store.cat_file(path, start=start, end=stop), self.cannot_read)
        if len(found) != stop - start:
            raise DataError(
                f"{self}: gave {len(found)} bytes for bytes {start} to {stop}; "
                "it changed, or its server has no range reads"
            )
        return found

    def cannot_read(self, problem: Problem) -> DpruneError:
        """What ends a command that reads it."""
        return DataError(f"{self}: {problem.why}")

    def cannot_write(self, problem: Problem) -> DpruneError:
        """What ends a command that writes it."""
        return DpruneError(f"cannot write {self}: {problem.why}")


Place = Path | RemotePath
"""A place on this machine, or in a storage."""


@overload
def parse_place(word: str | Place) -> Place: ...
@overload
def parse_place(word: None) -> None: ...
def parse_place(word: str | Place | None) -> Place | None:
    """Where a word of the command line leads.

    >>> parse_place("a/b"), parse_place("file:///a/b"), parse_place("S3://a/b/")
    (PosixPath('a/b'), PosixPath('/a/b'), RemotePath(url='s3://a/b'))

    Raises:
        UsageError: as `check_url` has it.
    """
    if word is None or not isinstance(word, str):
        return word
    check_url(word)
    found = URL.match(word)
    if found is None:
        return Path(word)
    protocol, rest = found[1].lower(), found[2]
    if protocol in LOCAL:
        return Path(rest)
    return RemotePath(f"{protocol}://{rest.rstrip('/')}")


def _open(path: RemotePath, describe: Describe | None = None) -> tuple[Any, str]:
    """The file system of a URL, which `fsspec` keeps and gives again, and the path in it.

    Raises:
        DpruneError: a package is missing.
        UsageError: `fsspec` does not know the storage, or the URL lacks a part of its address.
    """

    def find() -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            return url_to_fs(path.url)
        except ImportError as error:
            cause = error if error.name else error.__cause__
            package = (getattr(cause, "name", None) or "of its storage").partition(".")[0]
            raise DpruneError(f"{path}: {path.protocol}:// needs the package {package}; install it") from None
        except ValueError:
            raise UsageError(f"{path}: there is no storage {path.protocol}://") from None
        except TypeError as error:
            # What the URL does not say is missing among the arguments of the file system.
            if "required positional argument" not in str(error):
                raise
            raise UsageError(f"{path}: does not say all that a storage {path.protocol}:// needs") from None

    # Some connect as soon as they are made.
    return retried(find, describe or path.cannot_read)


def find_info(path: RemotePath, describe: Describe | None = None) -> Info | None:
    """What a storage says of an object; None if there is none.

    Raises:
        DataError: the storage does not answer, or refuses to; or the error that `describe` makes of it.
    """
    store, name = _open(path, describe)

    def ask() -> Mapping[str, Any] | None:
        store.invalidate_cache(name)
        try:
            return store.info(name)
        except FileNotFoundError as error:
            if Problem.of(error).missing:
                return None
            raise

    found = retried(ask, describe or path.cannot_read)
    return None if found is None else _info(found, path.protocol)


def _info(found: Mapping[str, Any], protocol: str) -> Info:
    version = next(
        (f"{name}={found[name]}" for name in (*_VERSIONS, *_TIMES) if found.get(name) is not None), ""
    )
    ranges = protocol not in WEB or bool(found.get("partial"))
    return Info(found.get("size"), f"{found.get('size')} {version}", found.get("type") == "directory", ranges)


def list_below(path: RemotePath, describe: Describe | None = None) -> dict[str, Info]:
    """All objects below a URL, by their names below it, sorted; the empty name is the object itself.

    Raises:
        DataError: the storage does not answer, or refuses to; or the error that `describe` makes of it.
    """
    store, top = _open(path, describe)
    # Without this, some file systems leave out whatever they cannot list.
    strict = {"on_error": "raise"} if _walks(store) else {}

    def ask() -> dict[str, Any]:
        store.invalidate_cache()
        try:
            return store.find(top, detail=True, **strict)
        except FileNotFoundError as error:
            if Problem.of(error).missing:
                return {}
            raise

    found = retried(ask, describe or path.cannot_read)
    top = top.rstrip("/")
    names = {
        name[len(top) :].lstrip("/"): about
        for name, about in found.items()
        if name == top or name.startswith(f"{top}/")
    }
    infos = {
        name: _info(about, path.protocol)
        for name, about in sorted(names.items())
        if about.get("type") != "directory" and not name.endswith("/")
    }
    unknown = [name for name, info in infos.items() if info.size is None]
    asked = in_flight((partial(find_info, path / name) for name in unknown), 16)
    return infos | {name: info for name, info in zip(unknown, asked, strict=True) if info is not None}


def _walks(store: Any) -> bool:
    """Whether a file system lists by the general walk of `fsspec`, and not by one of its own."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    if isinstance(store, AsyncFileSystem):
        return type(store)._find is AsyncFileSystem._find
    return type(store).find is AbstractFileSystem.find


def check_writable(path: RemotePath) -> None:
    """`UsageError` for a storage that can only be read."""
    if path.protocol in WEB:
        raise UsageError(f"{path}: {path.protocol}:// can only be read; name another output")
    _open(path, path.cannot_write)


def upload(source: Path, path: RemotePath) -> None:
    """Make a file an object, which is replaced if it is there; it never shows half written.

    Raises:
        DpruneError: it cannot be written.
    """
    store, name = _open(path)
    if _ATOMIC.fullmatch(path.protocol):
        retried(lambda: store.put_file(str(source), name), path.cannot_write)
        return
    folder, _, last = name.rpartition("/")
    part = f"{folder}/.{last}.part"

    def put() -> None:
        store.makedirs(folder, exist_ok=True)
        store.put_file(str(source), part)
        store.mv(part, name)

    retried(put, path.cannot_write)


def mark(path: RemotePath) -> None:
    """Make an empty object.

    Raises:
        DpruneError: it cannot be written.
    """
    store, name = _open(path, path.cannot_write)
    retried(lambda: store.pipe_file(name, b""), path.cannot_write)


def remove(path: RemotePath) -> None:
    """Remove an object, if it is there.

    Raises:
        DpruneError: it cannot be removed.
    """
    store, name = _open(path, path.cannot_write)

    def drop() -> None:
        try:
            store.rm_file(name)
        except FileNotFoundError as error:
            if not Problem.of(error).missing:
                raise

    retried(drop, path.cannot_write)


def download(path: RemotePath, info: Info, target: int) -> None:
    """Write the content of an object to an open file.

    Args:
        path: the object.
        info: what the storage said of it; it must still be so.
        target: descriptor of the file.

    Raises:
        DataError: it cannot be read, or changed since `info` was asked for.
        OSError: the disk is full, or the like.
    """
    if info.size is None or not info.ranges:
        store, name = _open(path)
        with open(os.dup(target), "wb") as sink:

            def copy() -> None:
                sink.seek(0)
                sink.truncate()
                store.get_file(name, sink)

            retried(copy, path.cannot_read)
        return
    jobs = [
        partial(path.read_range, start, min(start + _CHUNK, info.size))
        for start in range(0, info.size, _CHUNK)
    ]
    start = 0
    for chunk in in_flight(jobs, 4):
        os.pwrite(target, chunk, start)
        start += len(chunk)
    now = find_info(path) if len(jobs) > 1 else info
    if now is None or now.version != info.version:
        raise DataError(f"{path}: changed while it was read; start again")
