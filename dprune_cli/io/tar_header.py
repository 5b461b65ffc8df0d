"""Tar headers, read many at a time and written one at a time (POSIX.1-2001 "pax" and GNU formats)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError

BLOCK = 512
END = bytes(2 * BLOCK)
# Few enough that the headers of a chunk stay in the processor's cache.
_CHUNK = 512
_LANES = np.uint64(0x00FF00FF00FF00FF)
_POWERS = np.float32(8) ** np.arange(5, -1, -1, dtype=np.float32)
_NAME, _PREFIX = 100, 155
_LARGEST = 8**11


def text(raw: bytes) -> str:
    """A name as text; bytes that are no UTF-8 become surrogates, as `tarfile` has it."""
    return raw.decode("utf-8", "surrogateescape")


def padded(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sizes rounded up to whole blocks.

    >>> padded(np.array([0, 1, 512, 513])).tolist()
    [0, 512, 512, 1024]
    """
    return (size + (BLOCK - 1)) & -BLOCK


def parse_number(raw: bytes, base: int = 8) -> int:
    """A number field of a header: digits, or GNU's big-endian binary; -1 if it is neither.

    >>> parse_number(b"00000000017 "), parse_number(bytes([0x80]) + bytes(9) + bytes([1, 2]))
    (15, 258)
    >>> parse_number(b"0000000z017"), parse_number(b"19", 10), parse_number(b"", 10)
    (-1, 19, -1)
    """
    if raw[:1] == b"\x80":
        return int.from_bytes(raw[1:], "big")
    digits = raw.partition(b"\0")[0].strip()
    if not digits:
        return 0 if base == 8 else -1
    return int(digits, base) if digits.isdigit() and len(digits) < 20 and _fits(digits, base) else -1


def _fits(digits: bytes, base: int) -> bool:
    return base == 10 or not digits.strip(b"01234567")


def parse_pax(body: bytes) -> dict[bytes, bytes]:
    r"""The records of a PAX header; what cannot be read ends them.

    >>> parse_pax(b"12 path=abc\n8 a=b=c\n")
    {b'path': b'abc', b'a': b'b=c'}
    """
    records: dict[bytes, bytes] = {}
    while body:
        digits, _, _ = body.partition(b" ")
        if not digits.isdigit() or len(digits) > 9:
            break
        length = int(digits)
        key, equals, value = body[len(digits) + 1 : length - 1].partition(b"=")
        if not equals or body[length - 1 : length] != b"\n":
            break
        records[key] = value
        body = body[length:]
    return records


def check_and_name(
    blocks: NDArray[np.uint8], heads: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], list[str]]:
    """Read many headers at once.

    Args:
        blocks: (blocks, 512) the archive.
        heads: (M,) block numbers of headers.

    Returns:
        (M,) whether the checksum is right, (M,) type flags, (M,) names, with the prefix of USTAR.
    """
    sound, kinds = np.empty(len(heads), bool), np.empty(len(heads), np.uint8)
    names: list[str] = []
    for first in range(0, len(heads), _CHUNK):
        rows = blocks[heads[first : first + _CHUNK]]
        sound[first : first + _CHUNK] = _check(rows)
        kinds[first : first + _CHUNK] = rows[:, 156]
        names += _names(rows)
    return sound, kinds, names


def _check(rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether stored and computed checksums agree; old writers summed bytes as signed numbers."""
    # Two bytes are added per 16-bit lane and 64 words per row: at most 2 * 255 * 64 < 2^16 a lane.
    words = rows.view("<u8")
    lanes = ((words & _LANES) + ((words >> np.uint64(8)) & _LANES)).sum(axis=1, dtype=np.uint64)
    total = lanes.view("<u2").reshape(-1, 4).sum(axis=1, dtype=np.int64)
    field = rows[:, 148:156]
    total += 8 * ord(" ") - field.sum(axis=1, dtype=np.int64)
    digits = field[:, :6] - np.uint8(ord("0"))
    stored = (digits.astype(np.float32) @ _POWERS).astype(np.int64)
    ended = (field[:, 6] == 0) | (field[:, 6] == ord(" "))
    for place in np.flatnonzero((digits > 7).any(axis=1) | ~ended).tolist():
        stored[place] = parse_number(field[place].tobytes())
    sound = stored == total
    if not sound.all():
        other = rows.copy()
        other[:, 148:156] = ord(" ")
        sound |= stored == other.view(np.int8).sum(axis=1, dtype=np.int64)
    return sound


def _names(rows: NDArray[np.uint8]) -> list[str]:
    raw = np.ascontiguousarray(rows[:, :_NAME]).view(f"S{_NAME}").ravel().tolist()
    joined = b"\0".join(raw)
    if joined.count(b"\0") != len(raw) - 1:
        joined = b"\0".join([name.partition(b"\0")[0] for name in raw])
    names = text(joined).split("\0")
    # Old GNU headers keep times where USTAR has the prefix; only the exact magic tells them apart.
    prefixed = (rows[:, 345] != 0) & (rows[:, 257:263] == np.frombuffer(b"ustar\0", np.uint8)).all(axis=1)
    for place in np.flatnonzero(prefixed).tolist():
        prefix = rows[place, 345 : 345 + _PREFIX].tobytes().partition(b"\0")[0]
        names[place] = f"{text(prefix)}/{names[place]}"
    return names


def make_header(name: str, size: int) -> bytes:
    """The headers of a regular file, always the same bytes for the same name and size.

    Mode 0644, owner 0, time 0. A name that USTAR cannot hold gets a PAX header before it.

    Raises:
        DataError: the file is larger than 8 GiB.
    """
    if size >= _LARGEST:
        raise DataError(f"{name}: is larger than a tar header can say (8 GiB)")
    raw = name.encode("utf-8", "surrogateescape")
    split = _split(raw)
    if split is not None:
        return _ustar(*split, size, b"0")
    record = _record(b"path", raw)
    extra = record + bytes(-len(record) % BLOCK)
    return _ustar(b"", b"././@PaxHeader", len(record), b"x") + extra + _ustar(b"", raw[:_NAME], size, b"0")


def make_global(key: bytes, value: bytes) -> bytes:
    """A PAX header for a whole archive, with one record; it makes no member."""
    record = _record(key, value)
    return _ustar(b"", b"pax_global_header", len(record), b"g") + record + bytes(-len(record) % BLOCK)


def _split(raw: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name of USTAR, or None if the name fits in no way."""
    if len(raw) <= _NAME:
        return b"", raw
    slash = raw.find(b"/", len(raw) - _NAME - 1)
    if 0 < slash <= _PREFIX and slash + 1 < len(raw):
        return raw[:slash], raw[slash + 1 :]
    return None


def _record(key: bytes, value: bytes) -> bytes:
    """A PAX record; its length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _ustar(prefix: bytes, name: bytes, size: int, kind: bytes) -> bytes:
    zero = b"0000000\0"
    before = name.ljust(_NAME, b"\0") + b"0000644\0" + zero + zero + b"%011o\0" % size + b"%011o\0" % 0
    after = (
        kind
        + bytes(100)
        + b"ustar\x0000"
        + bytes(64)
        + zero
        + zero
        + prefix.ljust(_PREFIX, b"\0")
        + bytes(12)
    )
    total = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % total + after
