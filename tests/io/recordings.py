"""Trajectories and feature files as users may bring them, written without dprune."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KEYS = ["c", "a", "b", "e", "d"]
LABELS = np.array([0, 0, 0, 1, 2], np.int32)  # of KEYS: unequal classes
CLASSES = 3


def make_logits(passes, classes=CLASSES):
    """(passes, samples, classes) float32."""
    return np.random.default_rng(0).normal(0, 2, (passes, len(KEYS), classes)).astype(np.float32)


def make_columns(epochs=(1, 2, 3), phases=None, runs=None):
    """Columns of a trajectory as lists, ordered by run, epoch and phase."""
    passes = [
        (run, epoch, phase) for run in (runs or [None]) for epoch in epochs for phase in (phases or [None])
    ]
    logits = make_logits(len(passes))
    columns = {"key": [], "label": [], "run": [], "epoch": [], "phase": [], "logits": []}
    for (run, epoch, phase), values in zip(passes, logits, strict=True):
        for key, label, row in zip(KEYS, LABELS.tolist(), values.tolist(), strict=True):
            for name, value in zip(columns, (key, label, run, epoch, phase, row), strict=True):
                columns[name].append(value)
    if phases is None:
        del columns["phase"]
    if runs is None:
        del columns["run"]
    return columns


def permute(columns, seed=0):
    """The same rows in another order."""
    count = len(next(iter(columns.values())))
    order = np.random.default_rng(seed).permutation(count)
    return {name: [values[row] for row in order] for name, values in columns.items()}


def write(path, columns, **types):
    """A Parquet file; lists become Arrow lists of doubles unless `types` says otherwise."""
    arrays = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path)
    return path
