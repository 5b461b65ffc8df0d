"""Encoded images to small square RGB arrays, with bounds on what a file may cost.

Pillow's format classes are opened directly, not through `Image.open`: only these four formats are ever
tried, and size is judged by the bound below, not by a process-wide setting that answers with warnings.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dprune_cli.data.exif import read_orientation, webp_canvas

MAX_PIXELS = 100_000_000

DECODE_ERROR = "decode_error"
TOO_LARGE = "too_large"
EMPTY_IMAGE = "empty_image"

# What Pillow raises for files that are damaged or no images at all.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)

_PNG = b"\x89PNG\r\n\x1a\n"

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeError(Exception):
    """One image cannot be used; `status` is what its row says about it."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Jpeg(JpegImageFile):
    """Pillow's JPEG without the look for a resolution in EXIF data, which warns if they are corrupt."""

    def _open(self) -> None:
        self.info["dpi"] = (72, 72)  # it looks only if no resolution is known
        super()._open()


def probe_image(raw: bytes) -> tuple[int, int]:
    """Width and height in pixels as stored, from the header alone.

    Raises:
        DecodeError: no bytes, not a JPEG, PNG, WebP or BMP, or more than `MAX_PIXELS` pixels.
    """
    return _open(raw).size


def decode_image(raw: bytes, side: int) -> NDArray[np.uint8]:
    """The central square of an image as RGB, shape (3, side, side).

    The shorter side is resized to `side` (bilinear, antialiased) unless it has that length already. Phone
    photos are turned upright. Transparency is dropped, 16-bit grey keeps its upper 8 bits, and of an
    animation the first frame counts.

    Raises:
        DecodeError: as for `probe_image`, or the pixels are damaged or cut short.
    """
    image = _open(raw)
    try:
        if isinstance(image, JpegImageFile):
            image.draft(image.mode, (side, side))  # lets libjpeg skip detail that resizing would discard
        rgb = _to_rgb(image)
    except _DAMAGE as error:
        raise DecodeError(DECODE_ERROR, str(error)) from error
    if rgb.size != (side, side):
        short = min(rgb.size)
        left, top = (rgb.width - short) // 2, (rgb.height - short) // 2
        # Resizing only the square bounds the memory that an image of 1 x 10,000,000 pixels can ask for.
        box = (left, top, left + short, top + short)
        rgb = rgb.resize((side, side), Image.Resampling.BILINEAR, box=box)
    orientation = read_orientation(image.info.get("exif"))
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _open(raw: bytes) -> ImageFile:
    if not raw:
        raise DecodeError(EMPTY_IMAGE, "no bytes")
    opener = _find_format(raw)
    try:
        if opener is WebPImageFile:
            _check_size(webp_canvas(raw))  # opening a WebP already allocates its canvas
        if opener is PngImageFile:
            raw = _without_animation(raw)
        image = opener(io.BytesIO(raw))
    except _DAMAGE as error:
        raise DecodeError(DECODE_ERROR, str(error)) from error
    _check_size(image.size)
    return image


def _find_format(raw: bytes) -> type[ImageFile]:
    if raw.startswith(b"\xff\xd8\xff"):
        return _Jpeg
    if raw.startswith(_PNG):
        return PngImageFile
    if raw.startswith(b"RIFF") and raw[8:12] == b"WEBP":
        return WebPImageFile
    if raw.startswith(b"BM"):
        return BmpImageFile
    raise DecodeError(DECODE_ERROR, "not a JPEG, PNG, WebP or BMP image")


def _without_animation(raw: bytes) -> bytes:
    """A PNG without the chunks that announce an animation, which Pillow warns of where they make no sense."""
    if b"acTL" not in raw:
        return raw
    place, kept, pieces = len(_PNG), 0, list[bytes]()
    while place + 12 <= len(raw):
        end = place + 12 + int.from_bytes(raw[place : place + 4], "big")
        if raw[place + 4 : place + 8] == b"acTL":
            pieces.append(raw[kept:place])
            kept = end
        place = end
    return b"".join([*pieces, raw[kept:]])


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DecodeError(TOO_LARGE, f"{width} x {height} pixels, more than {MAX_PIXELS:,}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Sixteen bits a pixel; Pillow's own conversion would clip them at 255 instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB would warn
    return image.convert("RGB")
