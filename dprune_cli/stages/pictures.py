"""Thumbnails of a few samples of a table: their bytes are found, checked, decoded and made small."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.data.decode import DecodeError, decode_image, probe_image
from dprune_cli.data.spans import MAX_BYTES
from dprune_cli.io.remote import Place
from dprune_cli.io.table import ScoreTable
from dprune_cli.io.table_view import TableView
from dprune_cli.io.tar_copy import check_spans, checked_spans
from dprune_cli.io.tar_pack import file_size, read_contents
from dprune_cli.stages.sample_places import find_base, find_files, find_spans, load_rows

LARGE, SMALL = 64, 48
# From so many pictures on they are small ones.
_MANY = 500
# Of all pictures, for a page of five megabytes in which a byte of a picture takes four thirds.
MOST_BYTES = 2_250_000
_QUALITIES = (85, 70, 50, 30)
_COLUMNS = ("key", "label", "shard", "offset", "size")


def read_thumbnails(
    table: TableView, rows: NDArray[np.int64], data: Sequence[str], room: int
) -> dict[int, bytes]:
    """Small JPEGs of some samples, by row; samples whose image cannot be decoded have none.

    Args:
        table: N rows.
        rows: (R,) those that are wanted, ascending, each once.
        data: where the samples are, if not where they were scored.
        room: how many pictures there will be in all, which together are to take `MOST_BYTES`.

    Raises:
        DataError: the table does not say where its samples are, or they are not there, or changed.
    """
    if not len(rows):
        return {}
    side = LARGE if room < _MANY else SMALL
    each = MOST_BYTES // max(room, len(rows))
    found = {}
    for row, raw in _read_images(table, rows, data):
        if (picture := _thumbnail(raw, side, each)) is not None:
            found[row] = picture
    return found


def check_places(table: TableView) -> None:
    """`DataError` for a table that says nothing of the files that its samples are in."""
    if "key" not in table or "shard" not in table:
        raise _no_places(table)


def _no_places(table: TableView) -> DataError:
    return DataError(f"{table.source} does not say which files its samples are in")


def _read_images(
    table: TableView, rows: NDArray[np.int64], data: Sequence[str]
) -> Iterator[tuple[int, bytes]]:
    """Rows and their encoded images, as far as they have one."""
    check_places(table)
    some = load_rows(table, rows, _COLUMNS)
    if some.data["shard"].null_count:
        raise _no_places(table)
    base = find_base(table, data)
    places = np.arange(len(some))
    spanned = some.integers("offset") >= 0 if "offset" in some else np.zeros(len(some), bool)
    for place, raw in _from_shards(some, places[spanned], base):
        yield int(rows[place]), raw
    for place, raw in _from_files(some, places[~spanned], base):
        yield int(rows[place]), raw


def _from_shards(some: ScoreTable, places: NDArray[np.int64], base: Place) -> Iterator[tuple[int, bytes]]:
    if not len(places):
        return
    spans = find_spans(some, places, base)
    if spans.remote:
        check_spans(spans)
    for own, buffer, samples in checked_spans(spans):
        begin, size = samples.span(samples.image)
        for row, first, length in zip(own.tolist(), begin.tolist(), size.tolist(), strict=True):
            if first >= 0 and length <= MAX_BYTES:
                yield int(places[row]), bytes(buffer[first : first + length])


def _from_files(some: ScoreTable, places: NDArray[np.int64], base: Place) -> Iterator[tuple[int, bytes]]:
    if not len(places):
        return
    paths = find_files(some, places, base).paths
    sizes = [file_size(path) for path in paths]
    able = [number for number, size in enumerate(sizes) if size <= MAX_BYTES]
    contents = read_contents([paths[number] for number in able], [sizes[number] for number in able])
    for number, raw in zip(able, contents, strict=True):
        yield int(places[number]), raw


def _thumbnail(raw: bytes, side: int, most_bytes: int) -> bytes | None:
    """The central square of an image as a JPEG of at most `side` pixels; None if it cannot be decoded."""
    from PIL import Image

    try:
        side = max(1, min(side, *probe_image(raw)))
        pixels = decode_image(raw, side).transpose(1, 2, 0)
    except DecodeError:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    for quality in _QUALITIES:
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=quality, optimize=True)
        if sink.tell() <= most_bytes:
            break
    return sink.getvalue()
