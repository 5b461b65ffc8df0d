"""Recorded features: embedding and logits of every sample in one clean pass, of this or any other model.

A Parquet file with `key`, `label`, `features` (D float32) and, where there is a classifier, `logits` (C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.vectors import check_labels, open_parquet, rows_by_key, vector_array, vectors


@dataclass(frozen=True)
class Features:
    """N samples: keys, (N,) labels, (N, D) features and (N, C) logits or None."""

    keys: list[str]
    labels: NDArray[np.int32]
    features: NDArray[np.float32]
    logits: NDArray[np.float32] | None


def write_features(
    path: Path,
    keys: Sequence[str],
    labels: NDArray[np.integer],
    features: NDArray[np.float32],
    logits: NDArray[np.float32],
) -> None:
    """Write one row a sample."""
    table = pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "label": pa.array(labels, pa.int32()),
            "features": vector_array(features),
            "logits": vector_array(logits),
        }
    )
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def read_features(
    path: Path, known: list[str] | None = None, labels: NDArray[np.int32] | None = None
) -> Features:
    """Read features, in the order of `known` (default: of the file's sorted keys).

    Raises:
        DataError: no such file, a column missing, keys or labels that do not match, a sample that is
            missing or stands there twice, a number that is not finite.
    """
    source = str(path)
    file = open_parquet(path, ("key", "label", "features"))
    table = file.read()
    keys = table["key"].cast(pa.string())
    order = known if known is not None else sorted(set(keys.to_pylist()))
    rows = rows_by_key(keys, order, source)
    if len(np.unique(rows)) < len(rows):
        raise DataError(f"{source}: {len(rows) - len(np.unique(rows))} keys stand there twice")
    if len(rows) < len(order):
        lost = np.setdiff1d(np.arange(len(order)), rows)
        raise DataError(f"{source}: key {order[lost[0]]!r} has no features ({len(lost)} samples like this)")
    found = table["label"].cast(pa.int32()).to_numpy()
    if labels is None:
        labels = np.empty(len(order), np.int32)
        labels[rows] = found
    check_labels(found, labels, order, rows, source)
    place = np.argsort(rows)
    logits = vectors(table["logits"], "logits", source)[place] if "logits" in table.column_names else None
    return Features(order, labels, vectors(table["features"], "features", source)[place], logits)
