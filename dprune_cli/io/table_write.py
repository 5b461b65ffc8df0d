"""Writing a score table row group by row group; columns that are stored as they would be written are copied.

The bytes are those that Arrow would write of the whole table at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprune_cli.io.arrow import empty
from dprune_cli.io.table_chunks import FILE_GROUPS, FILE_ROWS, Chunk, Footer, ReadBytes, row_group
from dprune_cli.io.table_footer import MAGIC, Struct, dump_footer, integer, structs
from dprune_cli.io.table_meta import METADATA_KEY, ROW_GROUP
from dprune_cli.io.table_view import TableView, in_order

_Job = Callable[[], tuple[int, list[Chunk]]]
"""Makes a row group: its rows, and its chunks in the order of the columns; called by threads."""


def write_rows(table: TableView, sink: BinaryIO) -> None:
    """Write all rows and the metadata of a table as one Parquet file.

    Args:
        table: N rows.
        sink: takes bytes, from the beginning of the file on.
    """
    metadata = {**(table.schema.metadata or {}), METADATA_KEY: table.meta.dump()}
    # What a footer says of the table as a whole, it says of an empty one, too.
    frame, _ = _encode(empty(table.schema.with_metadata(metadata)), store_schema=True)
    sink.write(MAGIC)
    place, groups = len(MAGIC), list[Struct]()
    for rows, chunks in in_order(lambda job: job(), _jobs(table, frame)):
        groups.append(row_group(chunks, rows, place))
        for chunk in chunks:
            sink.write(chunk.load())
            place += chunk.length
    sink.write(dump_footer({**frame.fields, FILE_ROWS: integer(len(table)), FILE_GROUPS: structs(groups)}))


def _jobs(table: TableView, frame: Footer) -> Iterator[_Job]:
    sizes = np.diff(table.edges)
    if (sizes[:-1] == ROW_GROUP).all() and (sizes[-1:] <= ROW_GROUP).all():
        yield from (partial(_from_piece, table, number, frame) for number in np.flatnonzero(sizes).tolist())
    else:
        yield from (partial(_encoded, rows) for rows in _regrouped(table))


def _from_piece(table: TableView, number: int, frame: Footer) -> tuple[int, list[Chunk]]:
    """A piece as a row group: what is stored as it would be written is copied, the rest is encoded."""
    names = table.schema.names
    chunks = table.stored_chunks(number, frame)
    rest = table.read_piece(number, [name for name in names if name not in chunks])
    if rest.column_names:
        footer, read = _encode(rest)
        chunks |= footer.chunks(0, read)
    rows = int(table.edges[number + 1] - table.edges[number])
    return rows, [chunk for name in names for chunk in chunks[name]]


def _encoded(rows: pa.Table) -> tuple[int, list[Chunk]]:
    footer, read = _encode(rows)
    chunks = footer.chunks(0, read)
    return len(rows), [chunk for name in rows.column_names for chunk in chunks[name]]


def _regrouped(table: TableView) -> Iterator[pa.Table]:
    """The rows, `ROW_GROUP` at a time, and what is left."""
    rest = empty(table.schema)
    for _, piece in table.map(lambda piece: piece, table.schema.names):
        rows = pa.concat_tables([rest, piece]) if len(rest) else piece
        whole = len(rows) - len(rows) % ROW_GROUP
        yield from (rows.slice(first, ROW_GROUP) for first in range(0, whole, ROW_GROUP))
        rest = rows.slice(whole)
    if len(rest):
        yield rest


def _encode(rows: pa.Table, *, store_schema: bool = False) -> tuple[Footer, ReadBytes]:
    """A Parquet file of one row group: its footer, and what reads from it."""
    dictionaries = [item.name for item in rows.schema if pa.types.is_dictionary(item.type)]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, rows.schema, compression="zstd", use_dictionary=dictionaries, store_schema=store_schema
    ) as writer:
        # Combined, because a writer takes only one dictionary for a row group.
        writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP)
    file = sink.getvalue()
    return Footer.read(file.size, file.slice), file.slice
