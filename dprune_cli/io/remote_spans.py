"""Samples out of remote shards by range reads: what is kept, and little else, is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.remote import Place, RemotePath, find_info
from dprune_cli.io.remote_retry import in_flight
from dprune_cli.io.tar_header import BLOCK
from dprune_cli.io.tar_plan import Spans

# Of samples that are held at once; bytes, and number.
_WINDOW = 1 << 26
_MOST = 1 << 16
_REQUEST = 1 << 22
_AT_ONCE = 16
# Gaps this large are fetched rather than asked around, as long as they are at most this part of what is kept.
_GAP = 1 << 16
_WASTE = 0.25


@dataclass(frozen=True)
class Window:
    """Neighbouring samples of an output.

    Attributes:
        rows: (W,) their row numbers, ascending by one.
        offset: (W,) first byte of each in `buffer`.
        buffer: the samples one after the other.
    """

    rows: NDArray[np.int64]
    offset: NDArray[np.int64]
    buffer: bytes


@dataclass(frozen=True)
class _Piece:
    """Bytes of one shard that are fetched together, and the samples of a window that are in them."""

    source: int
    start: int
    stop: int
    rows: NDArray[np.int64]


def fetch_windows(spans: Spans, first: int, after: int) -> Iterator[Window]:
    """Fetch some samples in their order, a window at a time; the next ones are under way meanwhile.

    Args:
        spans: all of them in one storage, and inside their shards; see `check_remote_spans`.
        first: the first of them.
        after: the first that is not fetched any more.

    Raises:
        DataError: a shard cannot be read.
    """
    cuts = [(first + begin, first + end) for begin, end in _cut(spans.size[first:after])]
    plans = [_plan(spans, *cut) for cut in cuts]
    pieces = (piece for plan in plans for piece in plan)
    fetched = in_flight((partial(_read, spans.paths[piece.source], piece) for piece in pieces), _AT_ONCE)
    for cut, plan in zip(cuts, plans, strict=True):
        begin, size = spans.offset[slice(*cut)].tolist(), spans.size[slice(*cut)].tolist()
        samples: list[memoryview] = [memoryview(b"")] * len(size)
        for piece, content in zip(plan, islice(fetched, len(plan)), strict=True):
            for row in piece.rows.tolist():
                inside = begin[row] - piece.start
                samples[row] = content[inside : inside + size[row]]
        ends = np.cumsum(size, dtype=np.int64)
        yield Window(np.arange(*cut), ends - size, b"".join(samples))


def _read(path: Place, piece: _Piece) -> memoryview:
    if not isinstance(path, RemotePath):
        raise DataError(f"{path}: is not in the storage of the other shards")
    return memoryview(path.read_range(piece.start, piece.stop))


def _cut(size: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First sample and first sample after of every window."""
    total = np.concatenate([[0], np.cumsum(size)])
    cuts, first = [], 0
    while first < len(size):
        full = int(np.searchsorted(total, total[first] + _WINDOW, "right")) - 1
        after = min(max(full, first + 1), first + _MOST)
        cuts.append((first, after))
        first = after
    return cuts


def _plan(spans: Spans, first: int, after: int) -> list[_Piece]:
    """What is fetched for the samples of a window."""
    source, offset, size = (values[first:after] for values in (spans.source, spans.offset, spans.size))
    order = np.lexsort((offset, source))
    begin, end = offset[order], (offset + size)[order]
    gap = begin[1:] - end[:-1]
    near = (np.diff(source[order]) == 0) & (gap >= 0) & (gap <= _GAP)
    # The smallest gaps first, until they are too many bytes together.
    closing = np.flatnonzero(near)[np.argsort(gap[near], kind="stable")]
    closing = closing[np.cumsum(gap[closing]) <= _WASTE * int(size.sum())]
    joined = np.zeros(len(order), bool)
    joined[closing + 1] = True
    pieces: list[_Piece] = []
    start = 0
    for stop in range(1, len(order) + 1):
        if stop < len(order) and joined[stop] and end[stop] - begin[start] <= _REQUEST:
            continue
        rows = order[start:stop]
        pieces.append(_Piece(int(source[rows[0]]), int(begin[start]), int(end[stop - 1]), rows))
        start = stop
    return pieces


def check_remote_spans(spans: Spans) -> None:
    """Make sure that all shards are there, and large enough.

    Raises:
        DataError: one is missing, or a span is not inside it.
    """
    for number, path in enumerate(spans.paths):
        rows = np.flatnonzero(spans.source == number)
        if not len(rows) or not isinstance(path, RemotePath):
            continue
        info = find_info(path) if path.cache is None else path.cache.info(path)
        if info is None:
            key = spans.keys[int(rows[0])]
            raise DataError(f"{path}: is missing; key {key!r} was in it when it was scored")
        offset, size = spans.offset[rows], spans.size[rows]
        wrong = (offset < 0) | (size <= 0) | (offset % BLOCK != 0) | (size % BLOCK != 0)
        wrong |= offset + size > (info.size or 0)
        if wrong.any():
            key = spans.keys[int(rows[int(np.argmax(wrong))])]
            raise DataError(f"{path}: changed since it was scored (key {key!r}); score it again")
