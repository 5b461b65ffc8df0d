"""Features of unequal classes that another tool may have recorded: `write_features` writes them to a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_data import SIZES, make_keys

WIDTH = 5


def make_features(sizes=SIZES, seed=0):
    """(N,) labels and (N, WIDTH) float32: a centre a class, noise, and a scale as no layer norm has it."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    centres = np.random.default_rng(99).normal(0, 1, (len(sizes), WIDTH))
    values = 30 * (centres[labels] + rng.normal(0, 0.7, (len(labels), WIDTH)))
    return labels, values.astype(np.float32)


def make_groups(count):
    """Every third sample is on water, the fifth in no group."""
    return [None if row == 4 else ("land", "water")[row % 3 == 0] for row in range(count)]


def write_features(path, sizes=SIZES, seed=0, keep=None, **columns):
    """A Parquet file of shuffled rows; `keep` are the keys that it holds, `columns` are more of them."""
    labels, values = make_features(sizes, seed)
    keys = make_keys(sizes)
    data = {"key": keys, "label": labels, "features": values.tolist(), **columns}
    rows = [row for row, key in enumerate(keys) if keep is None or key in keep]
    order = np.random.default_rng(7).permutation(rows)
    pq.write_table(pa.table(data).take(pa.array(order)), path)
    return path
