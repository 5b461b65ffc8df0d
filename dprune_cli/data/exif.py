"""Two facts from image headers, read without Pillow: the orientation of a photo and the canvas of a WebP.

Pillow reads all of the EXIF data to find one number and warns where they are corrupt, and it allocates the
canvas of a WebP before it tells its size.
"""

from __future__ import annotations

import struct

_PREFIX = b"Exif\x00\x00"
_ORIENTATION = 0x0112
_SHORT = 3
_ENTRY = 12


def read_orientation(exif: bytes | None) -> int:
    """The orientation tag of EXIF data, 1 to 8; 1, upright, where they are missing or make no sense.

    >>> read_orientation(bytes.fromhex("4d4d002a 00000008 0001 0112 0003 00000001 0006 0000"))
    6
    """
    body = (exif or b"").removeprefix(_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", body, 4)
        (entries,) = struct.unpack_from(f"{order}H", body, start)
        for index in range(entries):
            entry = start + 2 + index * _ENTRY
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", body, entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass  # the entries run past the end
    return 1


def webp_canvas(raw: bytes) -> tuple[int, int]:
    """Width and height that the header of a WebP file states.

    Raises:
        ValueError: the header is cut short or of no known kind.
    """
    kind, head = raw[12:16], raw[:30]
    if kind == b"VP8X" and len(head) == 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and len(head) >= 25 and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(head) == 30:
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("the WebP header is damaged")
