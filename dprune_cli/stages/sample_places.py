"""From rows of a table to the bytes of their samples: spans of shards, or image files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.arrow import empty, from_numpy, to_numpy
from dprune_cli.io.outputs import STDOUT
from dprune_cli.io.remote import Place
from dprune_cli.io.sources import below, locate
from dprune_cli.io.table import ScoreTable
from dprune_cli.io.table_view import TableView
from dprune_cli.io.tar_pack import ImageFiles
from dprune_cli.io.tar_plan import Spans


def load_rows(table: TableView, rows: NDArray[np.int64], columns: Sequence[str]) -> ScoreTable:
    """Some rows in memory; only the pieces that hold them are read.

    Args:
        table: N rows.
        rows: (R,) their numbers, ascending, each once.
        columns: those that are wanted, as far as the table has them.
    """
    wanted = [name for name in columns if name in table]
    pieces = [empty(pa.schema([table.schema.field(name) for name in wanted]))]
    holding = np.unique(np.searchsorted(table.edges, rows, side="right") - 1).tolist()
    for own, piece in table.map(lambda piece: piece, wanted, holding):
        here = rows[np.searchsorted(rows, own.start) : np.searchsorted(rows, own.stop)] - own.start
        pieces.append(piece.take(from_numpy(here)))
    return ScoreTable(pa.concat_tables(pieces).unify_dictionaries(), table.meta, table.source)


def find_base(table: TableView, data: Sequence[str]) -> Place:
    """The folder that shard names are relative to: of `--data`, else of the root that was scored.

    Raises:
        DataError: the table does not say where its samples are, or they are not there.
    """
    recorded = [table.meta.root] if isinstance(table.meta.root, str) else table.meta.root
    root = list(data) or recorded
    if not root:
        raise DataError(f"{table.source} does not say where its samples are; give --data DATA")
    try:
        return locate(root).base
    except DataError as error:
        if data or STDOUT in root:
            raise
        raise DataError(f"{error}; if the samples are elsewhere now, give --data DATA") from None


def find_spans(table: ScoreTable, rows: NDArray[np.int64], base: Place) -> Spans:
    """The samples of some rows, which are in shards."""
    table.need("offset", "size")
    paths, source = _sources(table, rows, base)
    keys = table.data["key"].take(from_numpy(rows)).to_pylist()
    return Spans(paths, source, table.integers("offset")[rows], table.integers("size")[rows], keys)


def find_files(table: ScoreTable, rows: NDArray[np.int64], base: Place) -> ImageFiles:
    """The samples of some rows, which are image files."""
    paths, source = _sources(table, rows, base)
    keys = table.data["key"].take(from_numpy(rows)).to_pylist()
    return ImageFiles([paths[number] for number in source], keys, table.integers("label")[rows])


def _sources(
    table: ScoreTable, rows: NDArray[np.int64], base: Place
) -> tuple[list[Place], NDArray[np.int64]]:
    column = table.data["shard"].take(from_numpy(rows)).combine_chunks()
    if column.null_count:
        raise DataError(f"{table.source}: kept samples have no shard; score them from DATA")
    return [below(base, name) for name in column.dictionary.to_pylist()], to_numpy(column.indices)[0]
