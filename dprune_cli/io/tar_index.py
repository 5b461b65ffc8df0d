"""Where the members of a tar archive are: a walk over its headers, without reading what they hold.

`tar_walk` hops from header to header by the size fields alone; names, types and checksums of all headers
are then read at once with NumPy. USTAR with its prefix field, GNU
long names and PAX headers are understood; archives with anything rarer (GNU sparse files, PAX defaults
for a path or size) are read by `tarfile` instead. Nothing in an archive is ever followed or executed.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.remote import Place
from dprune_cli.io.remote_cache import open_shard
from dprune_cli.io.tar_header import BLOCK, check_and_name, padded, parse_pax, text
from dprune_cli.io.tar_walk import (
    EXTENDING,
    LONG_NAME,
    OLD_PLAIN,
    PAX,
    REGULAR,
    SPARSE,
    Buffer,
    Walk,
    follow,
    follow_together,
)

_DIRECTORY = ord("5")
_COMPRESSED = re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18")


@dataclass(frozen=True)
class Members:
    """M regular files of an archive, in the order they stand.

    Attributes:
        names: (M,) names; bytes that are no UTF-8 stand as surrogates.
        start: (M,) first byte of the first header that belongs to the member, long-name headers included.
        data, size: (M,) first byte and length of the content.
        part: (M,) never falls; between members of different parts stands something that is neither a
            regular file nor a directory, so that a sample must not span it.
        damage: what is wrong with the archive, or None.
    """

    names: list[str]
    start: NDArray[np.int64]
    data: NDArray[np.int64]
    size: NDArray[np.int64]
    part: NDArray[np.int64]
    damage: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def end(self) -> NDArray[np.int64]:
        """(M,) first byte after the padding of the content."""
        return self.data + padded(self.size)


def map_file(path: str | Place) -> Buffer:
    """A file as a read-only memory map; it is released when the last reference to it goes.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        with open(open_shard(path), "rb") as handle:
            if os.fstat(handle.fileno()).st_size == 0:
                return b""
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({reason})") from None


def index_tar(path: str | Place, buffer: Buffer | None = None) -> Members:
    """The regular files of an archive; of a damaged one those that precede the damage and are whole.

    Args:
        path: the archive.
        buffer: its memory map, where there is one already.

    Raises:
        DataError: the archive cannot be read, or it is compressed, so that it has no spans to copy.
    """
    mapped = map_file(path) if buffer is None else buffer
    if not len(mapped):
        return _nothing("is empty")
    if _COMPRESSED.match(mapped[:8]):
        raise DataError(
            f"{path}: is compressed; unpack it first, samples of a compressed tar cannot be copied"
        )
    walk = Walk()
    follow(mapped, 0, len(mapped), walk, archive=True)
    members = None if walk.odd else _collect(mapped, walk)
    if members is None or (not len(members) and members.damage):
        return _index_with_tarfile(mapped)
    return members


def index_spans(buffer: Buffer, spans: Sequence[tuple[int, int]]) -> Members:
    """The regular files inside byte spans of an archive, every span a part of its own.

    Args:
        buffer: the archive's memory map.
        spans: first byte and first byte after each; both whole blocks inside the archive.

    Returns:
        The members, in the order of `spans`; `damage` says so if a span is no whole run of members.
    """
    walk = Walk()
    bounds = np.array(spans, np.int64).reshape(-1, 2)
    begins, ends = bounds[:, 0], bounds[:, 1]
    wrong = (bounds % BLOCK != 0).any(axis=1) | (begins < 0) | (begins > ends) | (ends > len(buffer))
    if wrong.any():
        return _nothing(f"bytes {' to '.join(map(str, spans[int(np.argmax(wrong))]))} do not lie in it")
    if not follow_together(buffer, begins, ends, walk):
        for begin, end in spans:
            if walk.damage is None:
                follow(buffer, begin, end, walk, archive=False)
    if walk.odd:
        return _nothing("holds sparse files where samples should be")
    return _collect(buffer, walk)


def _collect(buffer: Buffer, walk: Walk) -> Members:
    """Check the headers that were found and pair members with their names."""
    heads, sizes = np.array(walk.heads, np.int64), np.array(walk.sizes, np.int64)
    damage = walk.damage
    whole = heads + BLOCK + padded(sizes) <= len(buffer)
    # The walk may have lost its way at a damaged header, so what it says about the end comes second.
    inside = heads + BLOCK <= len(buffer)
    heads, sizes, whole = heads[inside], sizes[inside], whole[inside]
    if not len(heads):
        return _nothing(damage)
    blocks = np.frombuffer(buffer, np.uint8, count=len(buffer) // BLOCK * BLOCK).reshape(-1, BLOCK)
    sound, kinds, names = check_and_name(blocks, heads // BLOCK)
    if not sound.all():
        count = int(np.argmin(sound))
        damage = f"has a damaged header at byte {heads[count]}"
    else:
        count = len(heads) if whole.all() else int(np.argmin(whole))
    heads, sizes, kinds = heads[:count], sizes[:count], kinds[:count]
    extending = np.isin(kinds, list(EXTENDING))
    if count and extending[-1] and damage is None:
        damage = f"has no member after the header at byte {heads[-1]}"
    entries = np.flatnonzero(~extending)
    if not len(entries):
        return _nothing(damage)
    start = heads[np.concatenate([[0], entries[:-1] + 1])]
    _rename(names, kinds, walk.bodies, entries)
    kinds = kinds[entries]
    for place in np.flatnonzero(kinds == OLD_PLAIN):
        if names[entries[place]].endswith("/"):
            kinds[place] = _DIRECTORY
    regular = np.isin(kinds, REGULAR)
    breaks = (~regular & (kinds != _DIRECTORY)).astype(np.int64)
    begins = np.searchsorted(entries, np.array(walk.firsts[1:], np.int64))
    np.add.at(breaks, begins[begins < len(breaks)], 1)
    chosen = entries[regular]
    return Members(
        names=names if len(chosen) == len(names) else [names[entry] for entry in chosen.tolist()],
        start=start[regular],
        data=heads[chosen] + BLOCK,
        size=sizes[chosen],
        part=np.cumsum(breaks)[regular],
        damage=damage,
    )


def _rename(
    names: list[str], kinds: NDArray[np.uint8], bodies: dict[int, bytes], entries: NDArray[np.int64]
) -> None:
    """Give members the names of the extending headers before them; the first header of several wins."""
    where = np.array([place for place in bodies if place <= entries[-1]], np.int64)
    targets = entries[np.searchsorted(entries, where)].tolist()
    for place, target in zip(reversed(where.tolist()), reversed(targets), strict=True):
        if kinds[place] == LONG_NAME:
            names[target] = text(bodies[place].partition(b"\0")[0])
        elif kinds[place] in PAX:
            records = parse_pax(bodies[place])
            if b"path" in records:
                names[target] = text(records[b"path"]).rstrip("/")
            if any(key.startswith(b"GNU.sparse") for key in records):
                kinds[target] = SPARSE


def _index_with_tarfile(buffer: Buffer) -> Members:
    """The same by the standard library, for what the walk leaves alone."""
    found: list[tarfile.TarInfo] = []
    damage, length = None, len(buffer)
    # Asked of a file, the bytes that a header claims are allocated before the end of the file is met.
    source = _View(buffer)
    try:
        with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            while (item := archive.next()) is not None:
                found.append(item)
            after = archive.offset
    except (tarfile.TarError, EOFError, ValueError, OverflowError):
        if not found:
            return _nothing("is no tar archive")
        after, damage = length, f"is damaged after the member at byte {found[-1].offset}"
    # `tarfile` stops without a word at a header that it cannot read.
    if damage is None and any(buffer[after : after + BLOCK]):
        damage = f"has a damaged header near byte {after}"
    plain = [item.isreg() and item.sparse is None for item in found]
    breaks = np.cumsum([not ok and not item.isdir() for ok, item in zip(plain, found, strict=True)])
    chosen = [place for place, ok in enumerate(plain) if ok and _is_whole(found[place], length)]
    items = [found[place] for place in chosen]
    return Members(
        names=[item.name for item in items],
        start=np.array([item.offset for item in items], np.int64),
        data=np.array([item.offset_data for item in items], np.int64),
        size=np.array([item.size for item in items], np.int64),
        part=breaks[chosen].astype(np.int64),
        damage=damage,
    )


class _View(io.RawIOBase):
    """A buffer as a file to read from."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as far as there are any."""
        end = len(self._buffer) if size < 0 else min(self._position + size, len(self._buffer))
        found = bytes(self._buffer[self._position : end])
        self._position += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, counted from the start alone; it may lie behind the end."""
        self._position = offset
        return offset

    def tell(self) -> int:
        """The byte that is read next."""
        return self._position


def _is_whole(item: tarfile.TarInfo, length: int) -> bool:
    return item.offset_data + item.size + (-item.size % BLOCK) <= length


def _nothing(damage: str | None) -> Members:
    none = np.empty(0, np.int64)
    return Members([], none, none, none, none, damage)
