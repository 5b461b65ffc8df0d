"""Encoded image bytes by row: spans of shards, or whole image files."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from dprune_cli.core.errors import DataError
from dprune_cli.data.decode import TOO_LARGE, DecodeError
from dprune_cli.io.samples import MISSING, Samples

# Larger than any sensible encoding of decode.MAX_PIXELS, so that a stray video is not read into memory.
MAX_BYTES = 1 << 29


@dataclass
class _Handle:
    descriptor: int
    users: int = 0
    evicted: bool = False


class SpanReader:
    """Reads images of `samples` from any number of threads.

    Shards stay open, the least recently used is closed when there are more than `max_open`; image files
    are opened for one read.
    """

    def __init__(self, samples: Samples, max_open: int = 64) -> None:
        self._samples = samples
        self._max_open = max_open
        self._lock = Lock()
        self._open: OrderedDict[int, _Handle] = OrderedDict()

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
            if samples.offset[row] == MISSING:
                with open(samples.path(row), "rb") as file:
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

    @contextmanager
    def _shard(self, row: int) -> Iterator[int]:
        shard = int(self._samples.shard[row])
        with self._lock:
            handle = self._open.get(shard)
            if handle is None:
                handle = self._open[shard] = _Handle(os.open(self._samples.path(row), os.O_RDONLY))
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
