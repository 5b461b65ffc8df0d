"""The score table: one row a sample, one Parquet file, the only thing stages hand to each other.

`ScoreTable` is an Arrow table plus what its schema metadata say under the key `dprune`. Stages add
columns and a step to the metadata and pass everything else through. Tables of other tools work too, as
long as they have the columns that a stage needs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.io.arrow import empty, from_numpy
from dprune_cli.io.outputs import (
    STDOUT,
    check_output,
    check_stdout_is_no_terminal,
    standard_output,
    whole_file,
)
from dprune_cli.io.table_columns import read_integers, read_numbers, read_ok, read_strata
from dprune_cli.io.table_keys import check_keys
from dprune_cli.io.table_meta import (
    COLUMN_TYPES,
    DICTIONARY,
    METADATA_KEY,
    OK,
    ROW_GROUP,
    TableMeta,
)
from dprune_cli.io.table_stored import open_table
from dprune_cli.io.table_view import Computed, TableView
from dprune_cli.io.table_write import write_rows

# One place to import from, whichever module something is in.
__all__ = [
    "COLUMN_TYPES",
    "DICTIONARY",
    "METADATA_KEY",
    "OK",
    "ROW_GROUP",
    "ScoreTable",
    "TableMeta",
    "check_keys",
    "check_table_output",
    "fingerprint",
    "open_table",
    "read_table",
    "write_table",
]


@dataclass(frozen=True)
class ScoreTable(TableView):
    """N rows in memory and their metadata; immutable, every change is a new table over the same buffers."""

    data: pa.Table
    meta: TableMeta
    source: str = "table"

    @property
    def schema(self) -> pa.Schema:
        """See `TableView.schema`."""
        return self.data.schema

    @property
    def edges(self) -> NDArray[np.int64]:
        """See `TableView.edges`."""
        return np.append(np.arange(0, len(self), ROW_GROUP), len(self))

    def __len__(self) -> int:
        return self.data.num_rows

    def read_piece(self, number: int, columns: list[str]) -> pa.Table:
        """See `TableView.read_piece`."""
        return self.data.select(columns).slice(number * ROW_GROUP, ROW_GROUP)

    def with_columns(self, **columns: pa.Array | NDArray[Any]) -> ScoreTable:
        """The table with columns added, or replaced where they stand."""
        data = self.data
        for name, values in columns.items():
            array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else from_numpy(values)
            kind = COLUMN_TYPES.get(name)
            if kind is not None and array.type != kind:
                array = array.cast(kind)
            place = data.schema.get_field_index(name)
            data = data.append_column(name, array) if place < 0 else data.set_column(place, name, array)
        return dataclasses.replace(self, data=data)

    def with_computed(self, **columns: Computed) -> ScoreTable:
        """See `TableView.with_computed`."""
        rows = slice(0, len(self))
        return self.with_columns(**{name: compute(rows) for name, compute in columns.items()})

    def without(self, *columns: str) -> ScoreTable:
        """The table without these columns, as far as it has them."""
        return dataclasses.replace(
            self, data=self.data.drop_columns([name for name in columns if name in self])
        )

    def with_meta(self, meta: TableMeta) -> ScoreTable:
        """The same rows with other metadata."""
        return dataclasses.replace(self, meta=meta)

    def ok(self) -> NDArray[np.bool_]:
        """(N,) rows that may be kept: status `ok`, or every row of a table without a status."""
        return read_ok(self)

    def integers(self, column: str) -> NDArray[np.int64]:
        """(N,) an integer column, -1 where it is null."""
        return read_integers(self, column).astype(np.int64)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """(N,) a number column, NaN where it is null; `DataError` if it holds a NaN of its own."""
        return read_numbers(self, column).astype(np.float64)

    def stratum_names(self, by: str) -> list[str]:
        """Names of classes or groups, one an id; ids themselves where no names are known."""
        return read_strata(self, by, np.zeros(len(self), bool)).names

    def strata(self, by: str) -> NDArray[np.int64]:
        """(N,) class or group id of every row; `DataError` where a row that may be kept has none."""
        return read_strata(self, by, self.ok()).ids.astype(np.int64)


def fingerprint(table: pa.Table) -> str:
    """sha256 over the sorted (key, label, size) of a table, so that any change of the data shows."""
    columns = [table[name].cast(pa.string()).to_pylist() for name in ("key", "label", "size")]
    lines = sorted("\t".join(value or "" for value in row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_table(source: str, columns: Sequence[str] | None = None) -> ScoreTable:
    """Read a table into memory, see `open_table`.

    Args:
        source: where.
        columns: only these, where they exist; None reads all.
    """
    stored = open_table(source)
    names = [name for name in stored.schema.names if columns is None or name in columns]
    schema = pa.schema([stored.schema.field(name) for name in names], stored.schema.metadata)
    pieces = [piece for _, piece in stored.map(lambda piece: piece, names)]
    data = pa.concat_tables(pieces) if pieces else empty(schema)
    data = data.replace_schema_metadata(schema.metadata)
    return ScoreTable(
        data.unify_dictionaries() if len(stored.parts) > 1 else data, stored.meta, stored.source
    )


def write_table(table: TableView, target: str, *, force: bool = False) -> None:
    """Write a table to a file, or to standard output for `-`; of several processes the first does it."""
    if not ranks.is_main():
        return
    if target == STDOUT:
        with standard_output() as stream:
            write_rows(table, stream)
        return
    with whole_file(target, force=force) as part, open(part, "wb") as file:
        write_rows(table, file)


def check_table_output(target: str | None, *, force: bool) -> None:
    """Refuse a table output that `write_table` would refuse, before any work is done."""
    if target == STDOUT:
        check_stdout_is_no_terminal("a Parquet table", "-o")
    elif target is not None:
        check_output(target, force=force)
