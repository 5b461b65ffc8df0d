"""Tables and pickles as somebody with ill will would make them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow.parquet as pq


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def evil_pickle(mark: Path) -> bytes:
    """A pickle that makes the file `mark` when it is loaded."""
    return pickle.dumps(Touch(mark))


def forge(source: Path, target: Path, *, columns=(), **meta) -> Path:
    """A copy of a table with other columns and other metadata."""
    table = pq.read_table(source)
    for name, values in dict(columns).items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    known = json.loads(table.schema.metadata[b"dprune"])
    table = table.replace_schema_metadata({**table.schema.metadata, b"dprune": json.dumps({**known, **meta})})
    pq.write_table(table, target)
    return target
