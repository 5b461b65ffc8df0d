"""Rows of a table that is read in pieces."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.io.table_meta import ROW_GROUP
from dprune_cli.stages.sample_places import load_rows


def test_rows_of_any_piece_are_those_that_were_asked_for():
    table = ScoreTable(
        pa.table({"key": np.arange(4 * ROW_GROUP), "other": np.zeros(4 * ROW_GROUP)}), TableMeta()
    )
    rows = np.array([0, 7, ROW_GROUP - 1, ROW_GROUP, 3 * ROW_GROUP + 5, 4 * ROW_GROUP - 1])
    found = load_rows(table, rows, ["key", "none"]).data
    assert found.column_names == ["key"] and found["key"].to_pylist() == rows.tolist()
