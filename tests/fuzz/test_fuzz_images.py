from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import Raw, damage, edits
from PIL import Image

from dprune_cli.data.decode import (
    DECODE_ERROR,
    EMPTY_IMAGE,
    MAX_PIXELS,
    TOO_LARGE,
    DecodeError,
    decode_image,
    probe_image,
)
from dprune_cli.data.exif import read_orientation

FEW_AND_MANY = pytest.mark.parametrize("cases", [25, pytest.param(4000, marks=pytest.mark.slow)])
EXIF = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")
KINDS = (
    ("JPEG", "RGB", {}), ("JPEG", "CMYK", {}), ("JPEG", "L", {"progressive": True}),
    ("JPEG", "RGB", {"exif": b"Exif\0\0" + EXIF}), ("PNG", "RGB", {}), ("PNG", "P", {"transparency": 3}),
    ("PNG", "RGBA", {}), ("PNG", "I;16", {}), ("PNG", "1", {}), ("PNG", "LA", {}), ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}), ("WEBP", "RGB", {"exif": b"Exif\0\0" + EXIF}), ("BMP", "RGB", {}),
    ("BMP", "P", {}), ("BMP", "1", {}), ("GIF", "P", {}), ("TIFF", "RGB", {}), ("PNG", "ANIMATED", {}),
    ("WEBP", "ANIMATED", {}),
)  # fmt: skip


@functools.cache
def valid(number: int) -> bytes:
    """One of a few small images, of every format and mode that there is a reader for, and of two others."""
    kind, mode, options = KINDS[number]
    pixels = np.random.default_rng(number).integers(0, 256, (13, 10, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "ANIMATED":
        options = {"save_all": True, "append_images": [image.rotate(90)]}
    elif mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@st.composite
def chunks(draw):
    """A PNG of chunks that need not fit together, each with a correct checksum."""
    side = st.sampled_from((0, 1, 2, 10, 65_535, 100_000, 2**31 - 1, 2**31, 2**32 - 1))
    depth, colour = st.sampled_from((0, 1, 2, 4, 8, 16, 255)), st.sampled_from((0, 2, 3, 4, 6, 7))
    size = struct.pack(">II", draw(side), draw(side))
    head = size + bytes([draw(depth), draw(colour), 0, 0, draw(st.sampled_from((0, 1)))])
    packed = zlib.compress(draw(st.sampled_from((b"", bytes(400), bytes(100_000)))))
    bodies = st.one_of(
        st.binary(max_size=20), st.just(packed), st.just(b"k\0\0" + zlib.compress(bytes(2 << 20)))
    )
    names = (
        b"IDAT",
        b"IDAT",
        b"PLTE",
        b"tRNS",
        b"zTXt",
        b"iTXt",
        b"tEXt",
        b"iCCP",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
    )
    names += (b"gAMA", b"pHYs", b"cHRM", b"sRGB", b"IEND", b"IHDR", b"\0\0\0\0")
    some = draw(st.lists(st.tuples(st.sampled_from(names), bodies), max_size=5))
    middle = b"".join(chunk(kind, body) for kind, body in some)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + middle + chunk(b"IEND", b"")


@st.composite
def headers(draw):
    """The first bytes of a valid image with other numbers where sizes stand."""
    raw = bytearray(valid(draw(st.integers(0, len(KINDS) - 1))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(raw) - 4, 160)))
        raw[at : at + 4] = draw(st.sampled_from((2**31 - 1, 2**32 - 1, 0, 1, 100_000, 65_500))).to_bytes(
            4, draw(st.sampled_from(("little", "big")))
        )
    return bytes(raw)


images = st.one_of(
    st.builds(
        damage, st.integers(0, len(KINDS) - 1).map(valid), edits, st.integers(0, len(KINDS) - 1).map(valid)
    ),
    headers(),
    chunks(),
    st.binary(max_size=40),
    st.builds(
        lambda head, rest: head + rest,
        st.sampled_from((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"BM", b"GIF89a")),
        st.binary(max_size=80),
    ),
).map(Raw)


@FEW_AND_MANY
def test_images_of_any_bytes_become_pixels_or_a_status(cases, fuzz):
    def check(raw):
        try:
            width, height = probe_image(raw)
            assert 0 <= width * height <= MAX_PIXELS
        except DecodeError as error:
            assert error.status in (DECODE_ERROR, TOO_LARGE, EMPTY_IMAGE)
        try:
            pixels = decode_image(raw, 8)
        except DecodeError as error:
            assert error.status in (DECODE_ERROR, TOO_LARGE, EMPTY_IMAGE)
            return
        assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8

    fuzz(check, cases, images)


@FEW_AND_MANY
def test_any_exif_data_have_an_orientation(cases, fuzz):
    def check(raw):
        assert 1 <= read_orientation(raw) <= 8

    fuzz(check, cases // 4, st.one_of(st.binary(max_size=40), st.builds(damage, st.just(EXIF), edits)))
