"""Copying samples between shards as byte spans: members, names and contents stay as they were, bit for bit.

Before anything is copied every span is checked: its members must all belong to the key that the table
names and fill the span exactly, so a shard that changed since it was scored is an error and never a
wrong data set.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Advance, ignore
from dprune_cli.io.class_names import stream_head
from dprune_cli.io.remote import Place
from dprune_cli.io.remote_cache import open_shard
from dprune_cli.io.remote_spans import check_remote_spans, fetch_windows
from dprune_cli.io.tar_header import END
from dprune_cli.io.tar_index import index_spans, map_file
from dprune_cli.io.tar_plan import Meter, Shard, Spans, gather_shards, merge_spans, own_shards
from dprune_cli.io.tar_samples import TarSamples, group_members
from dprune_cli.io.tar_walk import Buffer

_GATHER = 1 << 20
_KERNEL_COPY = 1 << 15
_CHECK_AT_ONCE = 1 << 16


def check_spans(spans: Spans, advance: Advance = ignore) -> None:
    """Make sure that every span still holds exactly the sample that it should.

    Of remote shards only the sizes are looked at; their samples are checked as they are fetched.

    Args:
        spans: the samples.
        advance: told how many of them were checked.

    Raises:
        DataError: a shard is missing, shorter, or holds something else; names the shard and the key.
    """
    if spans.remote:
        check_remote_spans(spans)
        return
    done = 0
    for rows, buffer in _by_shard(spans):
        _check(spans, rows, buffer, spans.offset[rows])
        done += len(rows)
        advance(done, len(spans))


def checked_spans(spans: Spans) -> Iterator[tuple[NDArray[np.int64], Buffer, TarSamples]]:
    """Check spans shard by shard, or as they are fetched.

    Yields:
        Rows of `spans`, bytes that they are in, and their samples in the order of the rows.
    """
    if spans.remote:
        for window in fetch_windows(spans, 0, len(spans)):
            yield window.rows, window.buffer, _check(spans, window.rows, window.buffer, window.offset)
        return
    for rows, buffer in _by_shard(spans):
        yield rows, buffer, _check(spans, rows, buffer, spans.offset[rows])


def _by_shard(spans: Spans) -> Iterator[tuple[NDArray[np.int64], Buffer]]:
    """Rows of `spans` shard by shard, and the maps of the shards that they lie in."""
    for number, path in enumerate(spans.paths):
        rows = np.flatnonzero(spans.source == number)
        if not len(rows):
            continue
        if not path.is_file():
            raise DataError(
                f"{path}: is missing; key {spans.keys[int(rows[0])]!r} was in it when it was scored"
            )
        buffer = map_file(path)
        for first in range(0, len(rows), _CHECK_AT_ONCE):
            yield rows[first : first + _CHECK_AT_ONCE], buffer


def _check(spans: Spans, rows: NDArray[np.int64], buffer: Buffer, offset: NDArray[np.int64]) -> TarSamples:
    """The samples of some rows, which begin at `offset` in a buffer."""
    size = spans.size[rows]
    end = offset + size
    keys = [spans.keys[row] for row in rows.tolist()]
    bad = (offset < 0) | (size <= 0) | (offset % 512 != 0) | (size % 512 != 0) | (end > len(buffer))
    if not bad.any():
        found = group_members(index_spans(buffer, list(zip(offset.tolist(), end.tolist(), strict=True))))
        common = min(len(found), len(keys))
        same = (found.offset[:common] == offset[:common]) & (found.size[:common] == size[:common])
        same &= np.fromiter(map(str.__eq__, found.keys, keys), bool, common)
        bad[:common] = ~same
        bad[common:] = True
        if not bad.any() and found.members.damage is None:
            return found
    first = int(np.argmax(bad))
    key, path = keys[first], spans.paths[int(spans.source[rows[first]])]
    raise DataError(f"{path}: changed since it was scored (key {key!r}); score it again")


def copy_spans(
    spans: Spans,
    folder: Path,
    *,
    shard_samples: int = SHARD_SAMPLES,
    shard_bytes: int = SHARD_BYTES,
    checked: Advance = ignore,
    copied: Advance = ignore,
) -> list[Shard]:
    """Write samples into shards `000000.tar`, `000001.tar`, ... of a folder.

    Args:
        spans: the samples, in output order.
        folder: where; it exists.
        shard_samples: most samples in a shard.
        shard_bytes: most bytes of a shard.
        checked: told how many samples were checked.
        copied: told how many bytes were copied.

    Every process writes some of the shards; the others may read only those.

    Returns:
        All shards, whoever wrote them.

    Raises:
        DataError: a shard changed since it was scored; nothing was written then.
        OSError: the disk is full, or the like.
    """
    plans = own_shards(spans.size, shard_samples, shard_bytes)
    own = spans.part(plans[0].first, plans[-1].after) if plans else spans.part(0, 0)
    check_spans(own, checked)
    ranks.wait()
    shards = []
    meter = Meter(int(own.size.sum()), copied)
    with _Sources(spans.paths) as sources:
        for plan in plans:
            with open(folder / plan.name, "wb", buffering=0) as sink:
                _reserve(sink.fileno(), int(spans.size[plan.first : plan.after].sum()) + len(END))
                size = _write(spans, plan.first, plan.after, sources, sink.fileno(), meter)
            shards.append(Shard(plan.name, plan.after - plan.first, size))
    return gather_shards(shards)


def stream_spans(
    spans: Spans,
    sink: BinaryIO,
    classes: Sequence[str] = (),
    *,
    checked: Advance = ignore,
    copied: Advance = ignore,
) -> Shard:
    """Write samples as one tar stream to an open file or pipe.

    Class names, if given, stand in its head, where `open_samples` finds them. `checked` and `copied` are
    told what `copy_spans` tells them.

    Raises:
        DataError: a shard changed since it was scored; nothing was written then.
        OSError: the reader went away, the disk is full, or the like.
    """
    check_spans(spans, checked)
    meter = Meter(int(spans.size.sum()), copied)
    # A tar of nothing but a global header is an error to `tarfile`.
    head = stream_head(classes) if len(spans) else b""
    sink.write(head)
    sink.flush()
    with _Sources(spans.paths) as sources:
        try:
            target = sink.fileno()
        except OSError:
            size = _write_to_object(spans, sources, sink, meter)
        else:
            size = _write(spans, 0, len(spans), sources, target, meter)
    return Shard("-", len(spans), len(head) + size)


class _Sources:
    """Maps and descriptors of the shards that are copied from, opened when first needed."""

    def __init__(self, paths: Sequence[Place]) -> None:
        self._paths = paths
        self._maps: dict[int, memoryview] = {}
        self._files: dict[int, int] = {}

    def __enter__(self) -> _Sources:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._files.values():
            os.close(handle)

    def view(self, number: int) -> memoryview:
        """The bytes of a shard."""
        if number not in self._maps:
            if len(self._maps) >= 64:
                # From shards in a shuffled order all would stay open otherwise.
                self._maps.pop(next(iter(self._maps)))
            self._maps[number] = memoryview(map_file(self._paths[number]))
        return self._maps[number]

    def file(self, number: int) -> int:
        """A descriptor of a shard."""
        if number not in self._files:
            if len(self._files) >= 64:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[number] = open_shard(self._paths[number])
        return self._files[number]


def _write(spans: Spans, first: int, after: int, sources: _Sources, target: int, meter: Meter) -> int:
    """Copy samples and the end mark to a descriptor; returns the bytes written.

    Small runs are gathered and written together; large ones are left to the kernel, which copies within
    its page cache.
    """
    if spans.remote:
        return _write_fetched(spans, first, after, partial(_write_all, target), meter)
    gathered = bytearray()
    size = len(END)
    for source, begin, end in merge_spans(spans, first, after):
        size += end - begin
        if end - begin < _KERNEL_COPY:
            gathered += sources.view(source)[begin:end]
            if len(gathered) >= _GATHER:
                _write_all(target, gathered)
                meter.add(len(gathered))
                gathered = bytearray()
            continue
        _write_all(target, gathered)
        meter.add(len(gathered) + end - begin)
        gathered = bytearray()
        done = _copy_in_kernel(sources.file(source), spans.paths[source], begin, end, target)
        _write_all(target, sources.view(source)[done:end])
    _write_all(target, gathered + END)
    meter.add(len(gathered))
    return size


def _reserve(target: int, size: int) -> None:
    """Claim the bytes of a file at once: a full disk shows early, and writing is a tenth faster."""
    try:
        os.posix_fallocate(target, 0, size)
    except OSError as error:
        # Not every file system can; one that is full says so here.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _write_all(target: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(target, view) :]


def _copy_in_kernel(source: int, path: Place, begin: int, end: int, target: int) -> int:
    """Copy bytes by `sendfile` as far as the system can; returns where it stopped."""
    if not hasattr(os, "sendfile"):
        return begin
    while begin < end:
        try:
            count = os.sendfile(target, source, begin, end - begin)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSOCK, errno.EBADF):
                return begin
            _check_readable(source, path, begin)
            raise
        if not count:
            raise DataError(f"{path}: changed while it was copied; score it again")
        begin += count
    return begin


def _check_readable(source: int, path: Place, place: int) -> None:
    """`DataError` if it is reading that fails: of a copy in the kernel the error does not tell."""
    try:
        os.pread(source, 1, place)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _write_fetched(
    spans: Spans, first: int, after: int, write: Callable[[bytes], object], meter: Meter
) -> int:
    """The same for samples in a storage, each checked before it is written."""
    for window in fetch_windows(spans, first, after):
        _check(spans, window.rows, window.buffer, window.offset)
        write(window.buffer)
        meter.add(len(window.buffer))
    write(END)
    return int(spans.size[first:after].sum()) + len(END)


def _write_to_object(spans: Spans, sources: _Sources, sink: BinaryIO, meter: Meter) -> int:
    if spans.remote:
        return _write_fetched(spans, 0, len(spans), sink.write, meter)
    size = len(END)
    for source, begin, end in merge_spans(spans, 0, len(spans)):
        sink.write(sources.view(source)[begin:end])
        meter.add(end - begin)
        size += end - begin
    sink.write(END)
    return size
