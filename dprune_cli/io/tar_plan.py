"""Which samples are copied from where, and into which shards they go.

Shards are cut by numbers and sizes alone, so all processes know the same plan, and each writes a run of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.progress import Advance
from dprune_cli.io.remote import Place, RemotePath
from dprune_cli.io.tar_header import END

# Bytes between two reports; after every sample they would cost a tenth of the time.
_REPORT = 1 << 22


class Meter:
    """Counts the bytes of samples that are written, and reports them now and then, and in the end."""

    def __init__(self, total: int, advance: Advance) -> None:
        self._total, self._advance = total, advance
        self._done = 0
        self._next = min(_REPORT, total)

    def add(self, size: int) -> None:
        """So many more."""
        self._done += size
        if self._done >= self._next > 0:
            self._advance(self._done, self._total)
            # Past the end there is nothing to wait for.
            self._next = min(self._done + _REPORT, self._total) if self._done < self._total else 0


@dataclass(frozen=True)
class Spans:
    """K samples in the order in which they are to be written.

    Attributes:
        paths: shards.
        source: (K,) index into `paths`.
        offset, size: (K,) byte span of a sample.
        keys: (K,) keys, to check the spans by.
    """

    paths: Sequence[Place]
    source: NDArray[np.integer]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    keys: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, first: int, after: int) -> Spans:
        """The samples from `first` up to but not including `after`."""
        cut = slice(first, after)
        return Spans(self.paths, self.source[cut], self.offset[cut], self.size[cut], self.keys[cut])

    @property
    def remote(self) -> bool:
        """Whether they are in a storage, where only the bytes of the samples are fetched."""
        return any(isinstance(path, RemotePath) for path in self.paths)


def merge_spans(spans: Spans, first: int, after: int) -> list[tuple[int, int, int]]:
    """Runs of neighbouring samples as (source, first byte, first byte after), in output order."""
    if first == after:
        return []
    source, begin = spans.source[first:after], spans.offset[first:after]
    end = begin + spans.size[first:after]
    new = np.flatnonzero((source[1:] != source[:-1]) | (begin[1:] != end[:-1])) + 1
    starts, stops = np.concatenate([[0], new]), np.concatenate([new - 1, [after - first - 1]])
    return list(zip(source[starts].tolist(), begin[starts].tolist(), end[stops].tolist(), strict=True))


@dataclass(frozen=True)
class Shard:
    """A shard that was written: its name, its number of samples, its bytes."""

    name: str
    samples: int
    size: int


def plan_shards(size: NDArray[np.int64], samples: int, largest: int) -> list[tuple[int, int]]:
    """Cut a row of samples into shards of at most `samples` samples and `largest` bytes, end mark included.

    A sample that is larger than a shard may be gets a shard of its own.

    Returns:
        First sample and first sample after, one pair a shard; no shard is empty.

    >>> plan_shards(np.array([1024, 1024, 1024, 9216, 1024]), 2, 4096)
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    total = np.concatenate([[0], np.cumsum(size, dtype=np.int64)])
    cuts, first = [], 0
    while first < len(size):
        full = int(np.searchsorted(total, total[first] + max(largest - len(END), 0), "right")) - 1
        after = min(max(full, first + 1), first + max(samples, 1), len(size))
        cuts.append((first, after))
        first = after
    return cuts


@dataclass(frozen=True)
class ShardPlan:
    """A shard that is to be written: its name, and its first sample and the first after it."""

    name: str
    first: int
    after: int


def own_shards(size: NDArray[np.int64], samples: int, largest: int) -> list[ShardPlan]:
    """Of the shards of `plan_shards` those that this process writes: a run of them."""
    plans = [
        ShardPlan(f"{number:06d}.tar", first, after)
        for number, (first, after) in enumerate(plan_shards(size, samples, largest))
    ]
    return plans[ranks.own_range(len(plans))]


def gather_shards(written: Sequence[Shard]) -> list[Shard]:
    """The shards that all processes wrote, in order."""
    return [shard for found in ranks.gather(list(written)) for shard in found]
