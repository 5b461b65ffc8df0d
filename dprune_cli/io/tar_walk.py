"""The hop from tar header to tar header, which is what the speed of the index hangs on.

Three loops do the same: one takes a header at a time and touches nothing else of the archive; the other
reads a window of blocks, parses every block as if it were a header, and then follows the chain through
the answers. The second is several times faster where members are small, and would read the whole
archive where they are large, so the distance between headers decides. The third
checks many small spans before they are copied; it takes the next header of all of them at once.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dprune_cli.io.tar_header import BLOCK, padded, parse_number, parse_pax

Buffer = mmap.mmap | bytes

_PAX_ONE = ord("x")
PLAIN, OLD_PLAIN, CONTIGUOUS = REGULAR = tuple(b"0\x007")
SPARSE, LONG_NAME, _GLOBAL = b"SLg"
PAX = frozenset(b"xX")
EXTENDING = frozenset(b"xXLK")
_NO_DATA = frozenset(b"123456")
# Every sample is there, unless the archive was cut exactly between two of them.
NO_END_MARK = "has no end-of-archive mark; it may be cut off"
_TELLING = (b"path=", b"size=", b"GNU.")
# An archive is filled up with zeros; whatever else follows is another one, appended to it.
_LOOK = 1 << 16
_LONGEST_HEADER = 1 << 20
_LARGEST = 1 << 60

_BURST = 64
_DENSE = 16 * BLOCK
_WINDOW = 1024 * BLOCK
_POWERS = 8.0 ** np.arange(10, -1, -1)


@dataclass
class Walk:
    """Headers as the walk finds them; whether they are sound is only known afterwards.

    Attributes:
        heads, sizes: first byte of every header, and the length of the content behind it.
        bodies: content of the extending headers that name a member or change its size.
        firsts: number of headers before every span that was followed.
        damage: where and why the walk could not go on, or None.
        odd: there is something in the archive that only `tarfile` understands.
    """

    heads: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    firsts: list[int] = field(default_factory=list)
    damage: str | None = None
    odd: bool = False


def follow(buffer: Buffer, begin: int, end: int, walk: Walk, *, archive: bool) -> None:
    """Note every header between two bytes of an archive.

    Args:
        buffer: the archive.
        begin: first byte, a multiple of 512.
        end: first byte after.
        walk: what was found is added to it.
        archive: this is a whole archive, which two blocks of zeros should end.
    """
    heads, sizes = walk.heads, walk.sizes
    walk.firsts.append(len(heads))
    position, pending = begin, -1
    checkpoint, last = len(heads) + _BURST, begin
    while position < end:
        try:
            size = int(buffer[position + 124 : position + 135], 8)
            kind = buffer[position + 156]
            if buffer[position + 135] not in b"\0 ":
                size = parse_number(buffer[position + 124 : position + 136])
        except (ValueError, IndexError):
            block = buffer[position : position + BLOCK]
            if len(block) < BLOCK:
                walk.damage = f"is cut off inside a header at byte {position}"
                return
            if not any(block):
                if not archive:
                    walk.damage = f"ends at byte {position}"
                elif buffer[position : min(end, position + _LOOK)].strip(b"\0"):
                    walk.damage = (
                        f"goes on after its end-of-archive mark at byte {position}; name shards one by one"
                    )
                return
            size, kind = parse_number(block[124:136]), block[156]
        if size < 0:
            walk.damage = f"is damaged at byte {position}"
            return
        if kind != PLAIN:
            if kind in _NO_DATA:
                size = 0
            elif kind in EXTENDING or kind == _GLOBAL:
                body = buffer[position + BLOCK : position + BLOCK + min(size, _LONGEST_HEADER)]
                if kind == LONG_NAME or any(word in body for word in _TELLING):
                    walk.bodies[len(heads)] = body
                    walk.odd |= kind == _GLOBAL
                    if kind in PAX and pending < 0:
                        pending = parse_number(parse_pax(body).get(b"size", b""), 10)
            elif kind == SPARSE:
                walk.odd = True
        if pending >= 0 and kind not in EXTENDING:
            size, pending = (0 if kind in _NO_DATA else pending), -1
        size = min(size, _LARGEST)
        heads.append(position)
        sizes.append(size)
        position += BLOCK + ((size + 511) & -BLOCK)
        if len(heads) >= checkpoint and pending < 0:
            if position - last <= _DENSE * _BURST:
                position = _follow_dense(buffer, position, end, walk)
            checkpoint, last = len(heads) + _BURST, position
    if position > end:
        walk.damage = f"ends inside the member at byte {heads[-1]}"
    elif archive:
        walk.damage = NO_END_MARK


def _follow_dense(buffer: Buffer, position: int, end: int, walk: Walk) -> int:
    """Hop on through whole windows, up to the first header that needs a closer look; returns where it is."""
    while True:
        count = (min(position + _WINDOW, end) - position) // BLOCK
        if count < _BURST:
            return position
        blocks = np.frombuffer(buffer, np.uint8, count=count * BLOCK, offset=position).reshape(-1, BLOCK)
        digits = blocks[:, 124:135] - np.uint8(ord("0"))
        size = (digits.astype(np.float64) @ _POWERS).astype(np.int64)
        place = np.arange(count)
        after = place + 1 + ((size + 511) >> 9)
        simple = blocks[:, 156] == PLAIN
        pax = np.flatnonzero((blocks[:, 156] == _PAX_ONE) & (size <= BLOCK) & (after < count))
        said = blocks[pax + 1, : int(size[pax].max(initial=0))].tobytes()
        if not any(word in said for word in _TELLING):
            # Whatever the PAX headers of this window say then, it is neither a name nor a size.
            simple[pax] = True
        simple &= (digits < 8).all(axis=1) & ((blocks[:, 135] == 0) | (blocks[:, 135] == ord(" ")))
        hops, here, found = np.where(simple, after, place).tolist(), 0, []
        while here < count and hops[here] > here:
            found.append(here)
            here = hops[here]
        walk.heads.extend((position + BLOCK * np.array(found, np.int64)).tolist())
        walk.sizes.extend(size[found].tolist())
        position += BLOCK * here
        if here < count:
            return position


def follow_together(buffer: Buffer, begin: NDArray[np.int64], end: NDArray[np.int64], walk: Walk) -> bool:
    """Note every header inside many spans, all spans a hop at a time.

    Args:
        buffer: the archive.
        begin: (K,) first byte of each span, a multiple of 512.
        end: (K,) first byte after; inside the archive.
        walk: what was found is added to it; nothing if the answer is False.

    Returns:
        Whether this was enough; False asks for `follow`, span by span.
    """
    blocks = np.frombuffer(buffer, np.uint8, count=len(buffer) // BLOCK * BLOCK).reshape(-1, BLOCK)
    position, rows = begin.copy(), np.flatnonzero(begin < end)
    found_rows, found_heads, found_sizes = [], [], []
    while len(rows):
        here = position[rows] // BLOCK
        head = blocks[here, 124:157]
        digits = head[:, :11] - np.uint8(ord("0"))
        simple = (digits < 8).all(axis=1) & ((head[:, 11] == 0) | (head[:, 11] == ord(" ")))
        size = (digits.astype(np.float64) @ _POWERS).astype(np.int64)
        pax = head[:, 32] == _PAX_ONE
        after = position[rows] + BLOCK + padded(size)
        if not (simple & (pax | (head[:, 32] == PLAIN)) & (after <= end[rows])).all():
            return False
        if pax.any():
            longest = int(size[pax].max())
            if longest > BLOCK or (after >= end[rows])[pax].any():
                return False
            said = blocks[here[pax] + 1, :longest].tobytes()
            if any(word in said for word in _TELLING):
                return False
        found_rows.append(rows)
        found_heads.append(position[rows])
        found_sizes.append(size)
        position[rows] = after
        rows = rows[after < end[rows]]
    row = np.concatenate(found_rows) if found_rows else rows
    order = np.argsort(row, kind="stable")
    count = len(walk.heads)
    walk.firsts += (count + np.searchsorted(row[order], np.arange(len(begin)))).tolist()
    if len(order):
        walk.heads += np.concatenate(found_heads)[order].tolist()
        walk.sizes += np.concatenate(found_sizes)[order].tolist()
    return True
