from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from encoded_files import encode
from PIL import Image, ImageOps

from dprune_cli.data import decode
from dprune_cli.data.decode import DecodeError, decode_image, probe_image
from dprune_cli.data.exif import read_orientation, webp_canvas

RAMP = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def png_header(width, height, depth=8, kind=2):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_back_the_pixels(kind, options):
    raw = encode(RAMP, kind, **options)
    assert probe_image(raw) == (8, 8)
    assert np.array_equal(decode_image(raw, 8), RAMP.transpose(2, 0, 1))


def test_jpeg_is_close():
    smooth = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    decoded = decode_image(encode(smooth, "JPEG", quality=95), 8)
    assert np.abs(decoded[:, 4, 4].astype(int) - (200, 100, 50)).max() < 4


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA")),
        *(("JPEG", mode) for mode in ("L", "CMYK")),
        *(("WEBP", mode) for mode in ("L", "RGBA")),
        *(("BMP", mode) for mode in ("1", "L", "P", "RGBA")),
    ],
)
def test_every_mode_becomes_rgb(kind, mode):
    image = Image.new("RGB", (9, 9), (255, 255, 255)).convert(mode)
    target = io.BytesIO()
    image.save(target, kind)
    decoded = decode_image(target.getvalue(), 9)
    assert decoded.shape == (3, 9, 9) and decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    assert decoded.min() >= 254


def test_cmyk_is_not_inverted():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan: red
    target = io.BytesIO()
    image.save(target, "JPEG", quality=95)
    red, green, blue = decode_image(target.getvalue(), 8)[:, 4, 4].astype(int)
    assert red > 240 and green < 15 and blue < 15


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 255], [256, 65535]], np.uint16)
    assert decode_image(encode(values), 2)[0].tolist() == [[0, 0], [1, 255]]


def test_a_transparent_palette_does_not_warn():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    target = io.BytesIO()
    image.save(target, "PNG", transparency=b"\x00\x80")
    assert decode_image(target.getvalue(), 8)[:, 0, 0].tolist() == [10, 20, 30]


def test_the_central_square_is_taken():
    wide = np.zeros((2, 6, 3), np.uint8)
    wide[:, 2:4] = 200
    assert (decode_image(encode(wide), 2) == 200).all()
    assert (decode_image(encode(wide.transpose(1, 0, 2)), 2) == 200).all()


def test_shrinking_averages():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = decode_image(encode(stripes), 2)
    assert np.abs(inner.astype(int) - 100).max() <= 15


def test_large_jpegs_keep_their_content_when_decoded_at_reduced_scale():
    image = np.zeros((512, 640, 3), np.uint8)
    image[:256] = 250
    decoded = decode_image(encode(image, "JPEG"), 16)
    assert decoded[:, :7].min() > 240 and decoded[:, 9:].max() < 10


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_photos_are_turned_upright(orientation, kind):
    corners = np.zeros((16, 16, 3), np.uint8)
    corners[:8, :8], corners[:8, 8:], corners[8:, :8] = 250, 160, 80
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    raw = encode(corners, kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(raw))).convert("RGB")
    assert np.array_equal(decode_image(raw, 16), np.asarray(upright).transpose(2, 0, 1))


@pytest.mark.parametrize(
    "exif", [None, b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x09\0"]
)
def test_damaged_exif_is_upright(exif):
    assert read_orientation(exif) == 1


def test_damaged_exif_neither_warns_nor_spoils_the_image():
    raw = encode(RAMP, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01")
    assert decode_image(raw, 8).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", "empty_image"),
        (b"just text", "decode_error"),
        (b"\xff\xd8\xff", "decode_error"),
        (b"BM", "decode_error"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "decode_error"),
        (b"GIF89a", "decode_error"),
        (png_header(30_000, 30_000), "too_large"),
        (png_header(10_001, 10_000), "too_large"),
    ],
)
def test_what_cannot_be_used_says_why(raw, status):
    for attempt in (probe_image, lambda raw: decode_image(raw, 8)):
        with pytest.raises(DecodeError) as caught:
            attempt(raw)
        assert caught.value.status == status


def test_the_bound_itself_is_allowed():
    assert probe_image(png_header(10_000, 10_000)) == (10_000, 10_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_truncated_images(kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    raw = encode(noise, kind)
    with pytest.raises(DecodeError) as caught:
        decode_image(raw[: len(raw) // 2], 32)
    assert caught.value.status == "decode_error"


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"MM\0*\0\0\0\x08\0\0"}])
def test_webp_canvas_is_read_before_anything_is_allocated(options, monkeypatch):
    raw = encode(np.zeros((5, 9, 3), np.uint8), "WEBP", **options)
    assert webp_canvas(raw) == (9, 5)
    monkeypatch.setattr(decode, "MAX_PIXELS", 44)
    monkeypatch.setattr(decode.WebPImageFile, "_open", lambda self: pytest.fail("opened"))
    with pytest.raises(DecodeError, match="9 x 5 pixels"):
        probe_image(raw)


def test_a_thin_image_is_not_blown_up():
    line = np.zeros((1, 20_000, 3), np.uint8)  # resized whole, it would have 64 x 1,280,000 pixels
    assert decode_image(encode(line), 64).shape == (3, 64, 64)
