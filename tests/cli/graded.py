"""Tables for `dprune select`: 60 samples in classes of 40, 15 and 5 with a score `grade`."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KEYS = [f"s{number:03}" for number in range(60)]
LABELS = np.repeat([0, 1, 2], [40, 15, 5])
RANKS = np.random.default_rng(5).permutation(60)
SCORES = {"grade": {"keep_first": "low", "hard_end": "high"}}


def write(path, columns=None, scores=None, order=None, **more):
    """Write such a table; `columns` are added or replaced."""
    data = pa.table({"key": KEYS, "label": LABELS, "grade": RANKS / 4, **(columns or {})})
    if order is not None:
        data = data.take(pa.array(order))
    if scores is not None:
        meta = {"version": 1, "scores": scores, "classes": ["ant", "bee", "cat"], **more}
        data = data.replace_schema_metadata({"dprune": json.dumps(meta)})
    pq.write_table(data, path)
    return path


def kept(path):
    """The keys that a table keeps."""
    table = pq.read_table(path)
    return set(table.filter(table["keep"])["key"].to_pylist())
