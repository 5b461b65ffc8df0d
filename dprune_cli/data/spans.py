"""Encoded image bytes by row: spans of shards, or whole image files."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from dprune_cli.core.errors import DataError
from dprune_cli.data.decode import TOO_LARGE, DecodeError
from dprune_cli.io.remote import RemotePath
from dprune_cli.io.remote_cache import open_shard
from dprune_cli.io.samples import MISSING, Samples

# Larger than any sensible encoding of decode.MAX_PIXELS, so that a stray video is not read into memory.
MAX_BYTES = 1 << 29
# As many images of one shard after another as shards that are read at random will hardly give.
_IN_ORDER = 16


@dataclass
class _Handle:
    descriptor: int
    users: int = 0
    evicted: bool = False


class SpanReader:
    """Reads images of `samples` from any number of threads.

    Shards stay open, the least recently used is closed when there are more than `max_open`; image files
    are opened for one read. A remote shard is read from its local copy, unless the cache cannot hold all
    shards and they are read in no order: then only the bytes of the image are fetched.
    """

    def __init__(self, samples: Samples, max_open: int = 64) -> None:
        self._samples = samples
        self._max_open = max_open
        self._lock = Lock()
        self._open: OrderedDict[int, _Handle] = OrderedDict()
        self._recent: deque[int] = deque(maxlen=_IN_ORDER)

    def read(self, row: int) -> bytes:
        """The encoded image of a row; shorter than indexed if the shard has been cut since.

        Raises:
            DecodeError: the image has more than `MAX_BYTES` bytes.
            DataError: the shard or file cannot be opened or read.
        """
        samples = self._samples
        start, size = int(samples.image_offset[row]), int(samples.image_size[row])
        if start == MISSING or size == MISSING:
            raise ValueError(f"row {row} has no image")
        if size > MAX_BYTES:
            raise DecodeError(TOO_LARGE, f"{size} encoded bytes, more than {MAX_BYTES}")
        try:
            path = samples.path(row)
            if isinstance(path, RemotePath):
                return self._read_remote(row, path, start, size)
            if samples.offset[row] == MISSING:
                with open(path, "rb") as file:
                    return file.read(size)
            with self._shard(row) as descriptor:
                return os.pread(descriptor, size, start)
        except OSError as error:
            raise DataError(f"cannot read {samples.path(row)}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close all shards; a later read opens them again."""
        with self._lock:
            while self._open:
                self._evict()

    def _read_remote(self, row: int, path: RemotePath, start: int, size: int) -> bytes:
        cache, shard = path.cache, int(self._samples.shard[row])
        if cache is None or self._samples.offset[row] == MISSING:
            return path.read_range(start, start + size)
        with self._lock:
            self._recent.append(shard)
            in_order = self._recent.count(shard) == _IN_ORDER
        descriptor = cache.open(path) if cache.holds_all or in_order else cache.open_held(path)
        if descriptor is None:
            return path.read_range(start, start + size)
        # Closed at once, because what is open cannot make room for other shards.
        try:
            return os.pread(descriptor, size, start)
        finally:
            os.close(descriptor)

    @contextmanager
    def _shard(self, row: int) -> Iterator[int]:
        shard = int(self._samples.shard[row])
        with self._lock:
            handle = self._open.get(shard)
            if handle is None:
                handle = self._open[shard] = _Handle(open_shard(self._samples.path(row)))
            self._open.move_to_end(shard)
            handle.users += 1
            if len(self._open) > self._max_open:
                self._evict()
        try:
            yield handle.descriptor
        finally:
            with self._lock:
                handle.users -= 1
                if handle.evicted and handle.users == 0:
                    os.close(handle.descriptor)

    def _evict(self) -> None:
        """Drop the least recently used shard; whoever still reads from it closes it."""
        _, handle = self._open.popitem(last=False)
        handle.evicted = True
        if handle.users == 0:
            os.close(handle.descriptor)
