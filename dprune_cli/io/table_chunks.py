"""Encoded columns of Parquet row groups, taken out of one file to be put into another as they are.

What a stage adds to a table is small beside what it passes through. To decode and encode the latter, and
compress it again, would take most of the time of `quota` and `select`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from dprune_cli.core.errors import DataError
from dprune_cli.io.table_footer import (
    TAIL,
    Struct,
    footer_length,
    integer,
    load_footer,
    struct_value,
    structs,
)

# Fields of parquet.thrift, by struct.
_FILE_SCHEMA, FILE_ROWS, FILE_GROUPS, _FILE_WRITER = 2, 3, 4, 6
_ELEMENT_NAME, _ELEMENT_CHILDREN = 4, 5
_GROUP_CHUNKS, _GROUP_BYTES, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_STORED = 1, 2, 3, 5, 6
_CHUNK_FILE_OFFSET, _CHUNK_META = 2, 3
_CHUNK_SECRETS = frozenset({8, 9})
_META_CODEC, _META_BYTES, _META_STORED, _META_PAGE, _META_DICTIONARY = 4, 6, 7, 9, 11
# Offsets into the file that hold for no other one: indexes and filters, which are optional, are left behind.
_META_ELSEWHERE = frozenset({10, 14, 15})
_ZSTD = 6

ReadBytes = Callable[[int, int], bytes | pa.Buffer]
"""Place in a file and length to the bytes there, which may be fewer at its end."""


@dataclass(frozen=True)
class Chunk:
    """One leaf column of one row group: where it is in its file, and what the footer says of it."""

    read: ReadBytes
    start: int
    length: int
    meta: Struct

    @property
    def is_ours(self) -> bool:
        """Whether it is compressed as chunks of ours are."""
        return bool(self.meta[_META_CODEC].held == _ZSTD)

    def load(self) -> bytes | pa.Buffer:
        """Its bytes; `DataError` if they are not all there."""
        found = self.read(self.start, self.length)
        if len(found) != self.length:
            raise DataError("a Parquet file became shorter while it was read")
        return found


@dataclass(frozen=True)
class Footer:
    """The footer of a file, and its columns.

    Attributes:
        size: bytes of the file.
        fields: as they are in the file.
        elements: what the schema says of every column: the column itself and what is nested in it.
    """

    size: int
    fields: Struct
    elements: dict[str, list[Struct]]

    @classmethod
    def read(cls, size: int, read: ReadBytes) -> Footer:
        """The footer of a file of `size` bytes; `ValueError` if it is none that is known here."""
        length = footer_length(bytes(read(size - TAIL, TAIL)))
        fields = load_footer(bytes(read(size - TAIL - length, length)))
        try:
            elements = dict(_columns(fields[_FILE_SCHEMA].held))
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError("a footer of unknown fields") from error
        return cls(size, fields, elements)

    def writes_like(self, other: Footer, column: str) -> bool:
        """Whether a column is stored in both files alike, and by the same version of the same program."""
        same = self.elements.get(column) == other.elements.get(column)
        return same and self.fields.get(_FILE_WRITER) == other.fields.get(_FILE_WRITER)

    def chunks(self, group: int, read: ReadBytes) -> dict[str, list[Chunk]]:
        """The leaf columns of every column of a row group; `ValueError` if they are not in the file."""
        found, place = {}, 0
        try:
            stored = self.fields[FILE_GROUPS].held[group][_GROUP_CHUNKS].held
            for name, elements in self.elements.items():
                leaves = sum(_ELEMENT_CHILDREN not in element for element in elements)
                found[name] = [self._chunk(stored[place + leaf], read) for leaf in range(leaves)]
                place += leaves
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError("a footer of unknown fields") from error
        return found

    def _chunk(self, stored: Struct, read: ReadBytes) -> Chunk:
        if not _CHUNK_SECRETS.isdisjoint(stored):
            raise ValueError("an encrypted chunk, which is worth nothing without its keys")
        meta = stored[_CHUNK_META].held
        start, length = meta[_META_PAGE].held, meta[_META_STORED].held
        if _META_DICTIONARY in meta:
            start = min(start, meta[_META_DICTIONARY].held)
        if not (start > 0 and length > 0 and start + length <= self.size):
            raise ValueError("a chunk that is not in the file")
        return Chunk(read, start, length, meta)


def _columns(elements: list[Struct]) -> Iterator[tuple[str, list[Struct]]]:
    """The columns of a schema, which Parquet has as a list of all nodes of a tree, parents first."""

    def end_of(place: int) -> int:
        children = elements[place].get(_ELEMENT_CHILDREN)
        place += 1
        for _ in range(children.held if children else 0):
            place = end_of(place)
        return place

    place = 1
    while place < len(elements):
        end = end_of(place)
        yield elements[place][_ELEMENT_NAME].held.decode(), elements[place:end]
        place = end


def row_group(chunks: list[Chunk], rows: int, start: int) -> Struct:
    """What a footer says of a row group whose chunks lie one after another.

    Args:
        chunks: in the order of the columns.
        rows: how many.
        start: where the first chunk begins.
    """
    columns: list[Struct] = []
    place = start
    for chunk in chunks:
        meta = {number: value for number, value in chunk.meta.items() if number not in _META_ELSEWHERE}
        for number in (_META_PAGE, _META_DICTIONARY):
            if number in meta:
                meta[number] = integer(meta[number].held - chunk.start + place)
        columns.append({_CHUNK_FILE_OFFSET: integer(0), _CHUNK_META: struct_value(meta)})
        place += chunk.length
    return {
        _GROUP_CHUNKS: structs(columns),
        _GROUP_BYTES: integer(sum(chunk.meta[_META_BYTES].held for chunk in chunks)),
        _GROUP_ROWS: integer(rows),
        _GROUP_OFFSET: integer(start),
        _GROUP_STORED: integer(place - start),
    }
