"""Columns of a table as NumPy arrays of the narrowest type that holds them.

Of a hundred million rows every byte a row is 0.1 GB, so labels are 8 or 16 bits wide where they can be, and
scores stay the float32 that they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.arrow import equals, to_numpy
from dprune_cli.io.table_meta import MOST_CLASSES, OK
from dprune_cli.io.table_view import TableView

By = Literal["class", "group"]


@dataclass(frozen=True)
class StratumColumn:
    """Classes or groups of the rows.

    Attributes:
        ids: (N,) integers, negative where a row has none.
        names: S names by id; ids themselves where no names are known.
    """

    ids: NDArray[Any]
    names: list[str]


def piece_ok(piece: pa.Table) -> NDArray[np.bool_]:
    """(n,) rows of a piece that may be kept: status `ok`, or every row of a table without a status."""
    if "status" not in piece.column_names:
        return np.ones(len(piece), bool)
    return equals(piece["status"], OK)


def read_ok(table: TableView) -> NDArray[np.bool_]:
    """(N,) rows that may be kept: status `ok`, or every row of a table without a status."""
    ok = np.ones(len(table), bool)
    if "status" in table:
        for rows, found in table.map(piece_ok, ["status"]):
            ok[rows] = found
    return ok


def read_integers(table: TableView, column: str) -> NDArray[Any]:
    """(N,) an integer column, -1 where it is null, in the narrowest signed type that holds all of them."""
    table.need(column)
    kind = table.schema.field(column).type
    if not pa.types.is_integer(kind):
        raise DataError(f"{table.source}: column {column!r} holds {kind}, not integers")

    def read(piece: pa.Table) -> NDArray[Any]:
        found, null = to_numpy(piece[column])
        return np.where(null, -1, found).astype(np.int64) if null.any() else found

    result = np.empty(len(table), np.int8)
    for rows, found in table.map(read, [column]):
        if len(found):
            result = _widened(result, int(found.min()), int(found.max()))
            result[rows] = found
    return result


def _widened(values: NDArray[Any], low: int, high: int) -> NDArray[Any]:
    """The values in a type that holds `low` and `high` as well."""
    ends = np.iinfo(values.dtype)
    if (ends.min <= low and high <= ends.max) or values.dtype == np.int64:
        return values
    return _widened(values.astype(f"i{2 * values.itemsize}"), low, high)


def read_numbers(table: TableView, column: str) -> NDArray[np.floating[Any]]:
    """(N,) a number column, NaN where it is null; float32 where that holds it exactly, else float64.

    Raises:
        DataError: the column is missing, or holds no numbers, or a NaN of its own.
    """
    table.need(column)
    kind = table.schema.field(column).type
    if pa.types.is_boolean(kind) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{table.source}: column {column!r} holds {kind}, not numbers")
    result = np.empty(len(table), np.result_type(kind.to_pandas_dtype(), np.float32))
    bad, first = 0, -1
    for rows, (found, null) in table.map(lambda piece: to_numpy(piece[column]), [column]):
        own = result[rows]
        own[:] = found
        if np.isnan(own[~null] if null.any() else own).any():
            wrong = np.flatnonzero(np.isnan(own) & ~null)
            first = rows.start + int(wrong[0]) if first < 0 else first
            bad += len(wrong)
        own[null] = np.nan
    if bad:
        where = f" (first at key {table.value('key', first)!r})" if "key" in table else ""
        raise DataError(f"{table.source}: column {column!r} holds {bad} NaN{where}")
    return result


def read_strata(table: TableView, by: str, ok: NDArray[np.bool_]) -> StratumColumn:
    """The class or group of every row.

    Args:
        table: N rows.
        by: `class` or `group`.
        ok: (N,) rows that may be kept.

    Raises:
        DataError: the column is missing, a row that may be kept has no value, or an id is so large that its
            classes or groups would be more than rows, names and `MOST_CLASSES`.
    """
    column = "label" if by == "class" else "group"
    ids = read_integers(table, column)
    lost = int(np.count_nonzero(ok & (ids < 0)))
    if lost:
        raise DataError(f"{table.source}: {lost} samples with status ok have no {column}")
    known = table.meta.classes if by == "class" else table.meta.groups
    most = max(len(known), len(ids), MOST_CLASSES)
    if len(ids) and ids.max() >= most:
        raise DataError(f"{table.source}: column {column!r} holds the id {ids.max()}; most are {most - 1}")
    return StratumColumn(ids, [*known, *map(str, range(len(known), int(ids.max(initial=-1)) + 1))])
