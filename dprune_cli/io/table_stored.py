"""A score table that stays in its Parquet files and is read piece by piece: a row group at a time."""

from __future__ import annotations

import dataclasses
import glob
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.io.outputs import STDOUT
from dprune_cli.io.parquet_errors import check_names, first_line, reading
from dprune_cli.io.remote import RemotePath, parse_place
from dprune_cli.io.remote_cache import local_parts
from dprune_cli.io.table_chunks import Chunk, Footer
from dprune_cli.io.table_meta import COLUMN_TYPES, METADATA_KEY, TableMeta
from dprune_cli.io.table_unchanged import FileState
from dprune_cli.io.table_view import Computed, TableView


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table.

    Attributes:
        where: its path, or the bytes of standard input.
        source: its name in messages.
        footer: what the file says of its row groups, read once.
        types: of its columns, as they are in the file.
        schema: its columns, in the types that tables of ours have.
        meta: what it says of the table.
        state: of the file when it was opened, since its path may lead to another one later; None for bytes.
    """

    where: Path | pa.Buffer
    source: str
    footer: pq.FileMetaData
    types: dict[str, pa.DataType]
    schema: pa.Schema
    meta: TableMeta
    state: FileState | None

    @classmethod
    def open(cls, where: Path | pa.Buffer, source: str) -> Part:
        """Read what the file says of itself; `DataError` if it is no Parquet file."""
        state = None if isinstance(where, pa.Buffer) else FileState.of(where, source)
        with _kept(where, state, source), reading(source), pq.ParquetFile(_opened(where)) as file:
            footer, schema = file.metadata, file.schema_arrow
        check_names(schema, source)
        meta = TableMeta.load((schema.metadata or {}).get(METADATA_KEY), source)
        fields = [item.with_type(COLUMN_TYPES.get(item.name, item.type)) for item in schema]
        types = dict(zip(schema.names, schema.types, strict=True))
        return cls(where, source, footer, types, pa.schema(fields, schema.metadata), meta, state)

    @cached_property
    def _fields(self) -> Footer | None:
        """The footer with all that is in it; None for one that only Arrow knows to read."""
        try:
            where = self.where
            size = where.size if isinstance(where, pa.Buffer) else FileState.of(where, self.source).size
            return Footer.read(size, self._bytes)
        except ValueError:
            return None

    def chunks(self, group: int, kinds: pa.Schema, frame: Footer) -> dict[str, list[Chunk]]:
        """The columns of a row group that are stored as they would be written, see `stored_chunks`."""
        if self._fields is None:
            return {}
        try:
            found = self._fields.chunks(group, self._bytes)
        except ValueError:
            return {}
        return {
            name: chunks
            for name, chunks in found.items()
            if name in kinds.names
            and self.types[name] == kinds.field(name).type
            and self._fields.writes_like(frame, name)
            and all(chunk.is_ours for chunk in chunks)
        }

    def _bytes(self, start: int, length: int) -> bytes | pa.Buffer:
        if isinstance(self.where, pa.Buffer):
            return self.where.slice(start, length)
        with self._kept(), reading(self.source), open(self.where, "rb") as file:
            file.seek(start)
            return file.read(length)

    def read(self, group: int, columns: list[str]) -> pa.Table:
        """The columns of a row group, as far as the part has them, in the types of tables of ours."""
        wanted = [name for name in columns if name in self.schema.names]
        # A handle of its own, because several threads read at a time.
        with (
            self._kept(),
            reading(self.source),
            pq.ParquetFile(_opened(self.where), metadata=self.footer) as file,
        ):
            data = file.read_row_group(group, columns=wanted, use_threads=False)
            data.validate(full=True)
        return _with_our_types(data, self.source)

    def _kept(self) -> AbstractContextManager[None]:
        return _kept(self.where, self.state, self.source)


@dataclass(frozen=True)
class StoredTable(TableView):
    """N rows of one or more Parquet files, as one table.

    Attributes:
        parts: the files in order; what the first one says of the table counts.
        stored: the columns of all parts together.
        added: columns that are computed when they are read, by name.
    """

    parts: tuple[Part, ...]
    stored: pa.Schema
    meta: TableMeta
    source: str
    added: dict[str, Computed] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """See `TableView.schema`."""
        schema = self.stored
        for name in self.added:
            place, item = schema.get_field_index(name), pa.field(name, COLUMN_TYPES[name])
            schema = schema.append(item) if place < 0 else schema.set(place, item)
        return schema

    @cached_property
    def _groups(self) -> list[tuple[Part, int]]:
        return [(part, group) for part in self.parts for group in range(part.footer.num_row_groups)]

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """See `TableView.edges`."""
        sizes = [part.footer.row_group(group).num_rows for part, group in self._groups]
        return np.cumsum([0, *sizes])

    def read_piece(self, number: int, columns: list[str]) -> pa.Table:
        """See `TableView.read_piece`."""
        part, group = self._groups[number]
        found = part.read(group, [name for name in columns if name not in self.added])
        rows = slice(int(self.edges[number]), int(self.edges[number + 1]))
        if len(found.column_names) and len(found) != rows.stop - rows.start:
            raise DataError(
                f"{part.source}: this is no Parquet file (row group {group} holds {len(found)} rows, "
                f"not {rows.stop - rows.start})"
            )
        schema = self.schema
        data = [self._column(name, schema.field(name).type, found, rows) for name in columns]
        return pa.Table.from_arrays(data, schema=pa.schema([schema.field(name) for name in columns]))

    def stored_chunks(self, number: int, frame: Footer) -> dict[str, list[Chunk]]:
        """See `TableView.stored_chunks`."""
        part, group = self._groups[number]
        wanted = [item for item in self.stored if item.name not in self.added]
        return part.chunks(group, pa.schema(wanted), frame)

    def _column(self, name: str, kind: pa.DataType, found: pa.Table, rows: slice) -> pa.ChunkedArray:
        if name in self.added:
            return pa.chunked_array([self.added[name](rows)], kind)
        if name not in found.column_names:
            return pa.chunked_array([pa.nulls(rows.stop - rows.start, kind)], kind)
        column = found[name]
        return column if column.type == kind else column.cast(kind)

    def with_computed(self, **columns: Computed) -> StoredTable:
        """See `TableView.with_computed`."""
        return dataclasses.replace(self, added={**self.added, **columns})

    def without(self, *columns: str) -> StoredTable:
        """See `TableView.without`."""
        kept = pa.schema([item for item in self.stored if item.name not in columns], self.stored.metadata)
        added = {name: value for name, value in self.added.items() if name not in columns}
        return dataclasses.replace(self, stored=kept, added=added)

    def with_meta(self, meta: TableMeta) -> StoredTable:
        """See `TableView.with_meta`."""
        return dataclasses.replace(self, meta=meta)


def open_table(source: str) -> StoredTable:
    """Open a table: a file, a folder of part files, a quoted glob, or `-`.

    Args:
        source: where; standard input is buffered, because Parquet is read from its end.

    Raises:
        DataError: there is no such file, or it is no Parquet file, or parts do not belong together.
    """
    if source == STDOUT:
        ranks.refuse_stdin("the table")
        raw = sys.stdin.buffer.read()
        if not raw:
            raise DataError("standard input is empty; did the command before the pipe fail?")
        part = Part.open(pa.py_buffer(raw), "standard input")
        return StoredTable((part,), part.schema, part.meta, "standard input")
    parts = tuple(Part.open(path, name) for path, name in _part_files(source))
    first = parts[0]
    for part in parts[1:]:
        if (part.meta.root, part.meta.classes) != (first.meta.root, first.meta.classes):
            raise DataError(f"{source}: {part.source} and {first.source} are of different data sets")
    try:
        schema = pa.unify_schemas([part.schema for part in parts], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{source}: its part files do not fit together: {first_line(error)}") from None
    return StoredTable(parts, schema, first.meta, source)


def _part_files(source: str) -> list[tuple[Path, str]]:
    """The files of a table and their names in messages."""
    path = parse_place(source)
    if isinstance(path, RemotePath):
        return local_parts(path, ".parquet")
    if path.is_dir():
        parts = sorted(path.glob("*.parquet"))
        if not parts:
            raise DataError(f"{source}: there is no such table; the folder holds no .parquet file")
    elif path.exists():
        parts = [path]
    else:
        parts = [Path(name) for name in sorted(glob.glob(source))]
    if not parts:
        raise DataError(f"{source}: there is no such table")
    return [(part, str(part)) for part in parts]


def _kept(where: Path | pa.Buffer, state: FileState | None, source: str) -> AbstractContextManager[None]:
    """Make sure that what is read is what was opened."""
    if state is None or isinstance(where, pa.Buffer):
        return nullcontext()
    return state.kept(where, source)


def _opened(where: Path | pa.Buffer) -> Any:
    return pa.BufferReader(where) if isinstance(where, pa.Buffer) else str(where)


def _with_our_types(data: pa.Table, source: str) -> pa.Table:
    """Cast known columns of other tools' tables, so that `label` may come as int64 or int8."""
    for place, name in enumerate(data.column_names):
        kind = COLUMN_TYPES.get(name)
        if kind is None or data.schema.field(place).type == kind:
            continue
        try:
            data = data.set_column(place, name, data.column(place).cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{source}: column {name!r} is no {kind}: {first_line(error)}") from None
    return data
