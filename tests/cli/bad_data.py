"""Data sets with something wrong in them."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    bands = {"RGB": (8, 8, 3), "L": (8, 8), "CMYK": (8, 8, 4)}[mode]
    target = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, bands, dtype=np.uint8), mode=mode).save(target, "JPEG")
    return target.getvalue()


def png_16_bit():
    target = io.BytesIO()
    Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)).save(target, "PNG")
    return target.getvalue()


def png_header(width, height):
    """A PNG file that says it has so many pixels, and has none."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


BROKEN = {
    "cut.jpg": (jpeg()[:300], "decode_error"),
    "text.jpg": (b"not an image at all", "decode_error"),
    "nothing.jpg": (b"", "empty_image"),
    "vast.png": (png_header(30_000, 30_000), "too_large"),
}


def members(prefix="", count=6, labels=("0", "1")):
    """Two classes of twice as many and half as many samples, as members of a tar."""
    found = []
    for number in range(count):
        label = labels[number % 3 == 0]
        found += [(f"{prefix}k{number}.jpg", jpeg(seed=number)), (f"{prefix}k{number}.cls", label.encode())]
    return found


def write_members(path: Path, files, tar_format=tarfile.USTAR_FORMAT):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, content in files:
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return path


def with_image(folder: Path, target: Path, name: str, content: bytes):
    """A copy of an image folder with one more image of its first class."""
    shutil.copytree(folder, target)
    (target / "ant" / name).write_bytes(content)
    return target
