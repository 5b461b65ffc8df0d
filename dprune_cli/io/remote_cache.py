"""Local copies of remote shards: as many as a bound allows, the one that was not used for longest goes first.

The folder is shared by all commands of a user, at the same time too. A copy is named after its URL and
version, so an object that changed is another one; it is filled as `NAME.part`, which is as large as the
whole from the start, and renamed when it is complete. Who reads a copy holds a shared lock on it and who
fills one an exclusive lock, so nobody removes what is in use, and what a killed command left is known by
its missing lock.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Lock, Thread

from dprune_cli.core.errors import DataError, DpruneError
from dprune_cli.io.remote import Info, Place, RemotePath, download, find_info, list_below, parse_place
from dprune_cli.io.remote_retry import in_flight
from dprune_cli.io.scratch import scratch_folder

CACHE_BYTES = 10**10
_PART = ".part"
_LOCK = "lock"
_PAUSE = 0.05
# Seconds until somebody else's readers should have made room.
_PATIENCE = 600.0


def cache_home() -> Path:
    """The folder of this user for what may be made again: `$XDG_CACHE_HOME/dprune`, `~/.cache/dprune`.

    Raises:
        DpruneError: nothing can be written there.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home, "dprune")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        raise DpruneError(f"cannot write {folder}; set XDG_CACHE_HOME to a folder for copies of remote data")
    return folder


def local_file(path: str | Place) -> Path:
    """A file on this machine: the path itself, or a copy of a remote object that goes with the command.

    Raises:
        DataError: there is no such object, or it cannot be read.
    """
    path = parse_place(path)
    if isinstance(path, Path):
        return path
    info = find_info(path)
    if info is None or info.folder:
        raise DataError(f"{path}: there is no such object")
    stack = ExitStack()
    target = stack.enter_context(scratch_folder()) / path.name
    atexit.register(stack.close)
    with open(target, "xb") as sink:
        download(path, info, sink.fileno())
    return target


def local_parts(path: str | Place, suffix: str) -> list[tuple[Path, str]]:
    """Local copies of an object, or of all that a folder holds directly with this suffix, and their URLs.

    Raises:
        DataError: there is nothing, or it cannot be read.
    """
    top = parse_place(path)
    if not isinstance(top, RemotePath):
        raise TypeError(path)
    names = [name for name in list_below(top) if name.endswith(suffix) or not name]
    parts = [top / name for name in names if "/" not in name]
    if not parts:
        raise DataError(f"{top}: there is no such object, and no {suffix} below it")
    return [(local_file(part), str(part)) for part in parts]


class ShardCache:
    """Local copies of the shards of one data set.

    Args:
        limit: bytes that all copies may take; a shard that is larger is kept alone.
        folder: where they are; None for `shards` in `cache_home()`.

    Attributes:
        holds_all: whether the shards that are expected have room at the same time.
    """

    holds_all = True

    def __init__(self, limit: int = CACHE_BYTES, folder: Path | None = None) -> None:
        self._limit = limit
        self._given = folder
        self._lock = Lock()
        self._known: dict[RemotePath, Info | None] = {}
        self._next: dict[RemotePath, RemotePath] = {}
        self._ahead: tuple[RemotePath, Thread] | None = None

    def know(self, found: Mapping[RemotePath, Info]) -> None:
        """Take note of what a listing said, so that the storage is not asked again."""
        self._known.update(found)

    def ask(self, paths: Sequence[RemotePath]) -> None:
        """Ask the storage of several objects at once."""
        self._known.update(
            zip(paths, in_flight([partial(find_info, path) for path in paths], 16), strict=True)
        )

    def expect(self, order: Sequence[RemotePath]) -> None:
        """The order in which shards will be read: with each the next one is fetched."""
        self._next = dict(pairwise(order))
        self.holds_all = sum(self.need_info(path).size or 0 for path in order) <= self._limit

    def info(self, path: RemotePath) -> Info | None:
        """What the storage said of an object when it was first asked; None if there is none."""
        if path not in self._known:
            self._known[path] = find_info(path)
        return self._known[path]

    def need_info(self, path: RemotePath) -> Info:
        """The same; `DataError` if there is no such object."""
        info = self.info(path)
        if info is None or info.folder:
            raise DataError(f"{path}: there is no such object")
        return info

    def open_held(self, path: RemotePath) -> int | None:
        """A descriptor of the local copy, if there is one; it stays until the descriptor is closed."""
        return _open_shared(self._folder / self._name(path))

    def open(self, path: RemotePath) -> int:
        """A descriptor of the local copy, which is fetched if need be; it stays until that is closed.

        Raises:
            DataError: there is no such object, it cannot be read, or others use the whole cache.
            DpruneError: the copy cannot be written.
        """
        self._wait_for_ahead(path)
        began = time.monotonic()
        while (descriptor := self.open_held(path)) is None and (descriptor := self._fetch(path)) is None:
            if time.monotonic() - began > _PATIENCE:
                raise DataError(
                    f"{self._folder}: is full of shards that other commands read; give more --remote-cache"
                )
            time.sleep(_PAUSE)
        self._start_ahead(path)
        return descriptor

    @property
    def _folder(self) -> Path:
        if self._given is None:
            self._given = cache_home() / "shards"
        self._given.mkdir(parents=True, exist_ok=True)
        return self._given

    def _name(self, path: RemotePath) -> str:
        return hashlib.sha256(f"{path.url}\n{self.need_info(path).version}".encode()).hexdigest()

    def _wait_for_ahead(self, path: RemotePath) -> None:
        with self._lock:
            ahead = self._ahead
        if ahead is not None and ahead[0] == path:
            ahead[1].join()

    def _start_ahead(self, path: RemotePath) -> None:
        """Fetch the shard after this one, unless one is being fetched already."""
        following = self._next.get(path)
        with self._lock:
            if following is None:
                return
            if self._ahead is not None and (self._ahead[0] == following or self._ahead[1].is_alive()):
                return
            # Nobody waits for it when the command ends.
            thread = Thread(target=self._fetch_ahead, args=(following,), daemon=True)
            self._ahead = following, thread
            thread.start()

    def _fetch_ahead(self, path: RemotePath) -> None:
        # Whoever needs the shard meets the error again, in a thread that can tell of it; or Python is ending.
        with suppress(DpruneError, OSError, RuntimeError):
            descriptor = self.open_held(path)
            descriptor = self._fetch(path) if descriptor is None else descriptor
            if descriptor is not None:
                os.close(descriptor)

    def _fetch(self, path: RemotePath) -> int | None:
        """Make a local copy; None if another one does so, or if there is no room for it now."""
        target = self._folder / self._name(path)
        part = target.with_name(target.name + _PART)
        info = self.need_info(path)
        descriptor = self._reserve(target, part, info.size or 0)
        if descriptor is None:
            return None
        try:
            download(path, info, descriptor)
            os.fsync(descriptor)
            _touch(part)
            os.replace(part, target)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException as error:
            part.unlink(missing_ok=True)
            os.close(descriptor)
            if isinstance(error, OSError):
                raise DpruneError(f"cannot copy {path} to {part.parent}: {error.strerror}") from None
            raise
        return descriptor

    def _reserve(self, target: Path, part: Path, size: int) -> int | None:
        """Create the part of a copy, locked and of its full size, as soon as there is room for it."""
        with _exclusive(self._folder / _LOCK):
            if target.exists() or not self._make_room(size, part):
                return None
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.ftruncate(descriptor, size)
            return descriptor

    def _make_room(self, size: int, part: Path) -> bool:
        """Remove what was not used for longest until `size` bytes fit; False if too much is in use."""
        entries = []
        for entry in os.scandir(self._folder):
            if entry.name == _LOCK:
                continue
            try:
                found = entry.stat()
            except FileNotFoundError:
                continue  # whoever fills a part renames it at any time
            is_part = entry.name.endswith(_PART)
            entries.append((not is_part, found.st_mtime_ns, found.st_size, Path(entry.path)))
        total = sum(bytes_ for _, _, bytes_, _ in entries)
        for is_whole, _, bytes_, path in sorted(entries):
            # A part that nobody fills any more goes in any case.
            if (not is_whole or total + size > self._limit) and _remove_unused(path):
                total -= bytes_
        return not part.exists() and (total + size <= self._limit or total == 0)


def open_shard(path: str | Place) -> int:
    """A descriptor of a shard, or of the local copy of a remote one.

    Raises:
        DataError: a remote one cannot be read.
        OSError: a local one cannot be opened.
    """
    if isinstance(path, RemotePath):
        return (path.cache or ShardCache()).open(path)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _open_shared(path: Path) -> int | None:
    """A descriptor of a file, with a shared lock on it; None if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            _touch(path)
            return descriptor
    except FileNotFoundError:
        pass  # removed between the two
    os.close(descriptor)
    return None


def _touch(path: Path) -> None:
    # The clock of the file system ticks so slowly that two copies would be used at the same time.
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def _remove_unused(path: Path) -> bool:
    """Remove a file unless somebody has a lock on it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Be the only one to change the folder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
