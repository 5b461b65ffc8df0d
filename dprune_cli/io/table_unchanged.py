"""Files that are read piece by piece, and must be the same all the while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dprune_cli.core.errors import DataError
from dprune_cli.io.parquet_errors import reading


@dataclass(frozen=True)
class FileState:
    """What tells a file from one that takes its place or is written over it.

    Attributes:
        device: number of its file system.
        inode: its number there.
        size: bytes.
        modified: nanoseconds.
    """

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path, source: str) -> FileState:
        """The state of a file now; `DataError` if there is none."""
        with reading(source):
            found = os.stat(path)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    @contextmanager
    def kept(self, path: Path, source: str) -> Iterator[None]:
        """`DataError` unless a file is still in this state after it was read."""
        try:
            yield
        except DataError:
            # What is read of a file that changes looks damaged.
            self._check(path, source)
            raise
        self._check(path, source)

    def _check(self, path: Path, source: str) -> None:
        if FileState.of(path, source) != self:
            raise DataError(f"{source}: changed while it was read; start again")
