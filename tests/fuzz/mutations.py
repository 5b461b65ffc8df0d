"""Damage to bytes: what a bad disk, a cut download or somebody with ill will does to a valid file."""

from __future__ import annotations

import base64
import zlib

from hypothesis import strategies as st

_WORDS = (
    b"\0",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
)
_MOST_SHOWN = 4000
_PLACE = st.integers(0, (1 << 20) - 1)

# (what, where, how much); where and how much are shares of the length, in 2**20ths.
edits = st.lists(
    st.tuples(
        st.sampled_from(("flip", "set", "cut", "drop", "repeat", "splice", "insert", "word")), _PLACE, _PLACE
    ),
    min_size=1,
    max_size=5,
)


class Raw(bytes):
    """Bytes of a case, shown so that `unpack` gives them back without filling the screen."""

    def __repr__(self) -> str:
        text = base64.b85encode(zlib.compress(self)).decode()
        return f"unpack({text!r})" if len(text) < _MOST_SHOWN else f"{len(self)} bytes, too many to be shown"


def unpack(text: str) -> bytes:
    """The bytes that a failing case shows."""
    return zlib.decompress(base64.b85decode(text))


def damage(raw: bytes, changes, donor: bytes = b"", grain: int = 1) -> bytes:
    """`raw` after some edits; all but flips and single bytes fall on multiples of `grain`."""
    data = bytearray(raw)
    for what, where, amount in changes:
        if not data:
            break
        place = where * len(data) >> 20
        start = place - place % grain
        length = max(grain, (amount * len(data) >> 22) // grain * grain)
        if what == "flip":
            data[place] ^= 1 << amount % 8
        elif what == "set":
            data[place] = amount % 256
        elif what == "cut":
            del data[start:]
        elif what == "drop":
            del data[start : start + length]
        elif what == "repeat":
            data[start:start] = data[start : start + length]
        elif what == "splice":
            other = donor or raw
            begin = (amount * len(other) >> 20) // grain * grain
            data[start : start + length] = other[begin : begin + length]
        elif what == "insert":
            data[start:start] = bytes(length)
        else:
            word = _WORDS[amount % len(_WORDS)]
            data[place : place + len(word)] = word
    return bytes(data)
