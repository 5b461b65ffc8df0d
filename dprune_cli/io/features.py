"""Recorded features: embedding and logits of every sample in one clean pass, of this or any other model.

A Parquet file with `key`, `label`, `features` (D float32) and, where there is a classifier, `logits` (C). If
dprune wrote it, its metadata say after which epoch of a schedule they were taken (`dprune_epochs`).
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
from dprune_cli.io.vectors import (
    check_classes,
    check_labels,
    open_parquet,
    rows_by_key,
    texts,
    vector_array,
    vectors,
    whole_numbers,
)


@dataclass(frozen=True)
class Features:
    """N samples: keys, (N,) labels, (N, D) features, (N, C) logits or None, and the epoch if it is known."""

    keys: list[str]
    labels: NDArray[np.int32]
    features: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    epochs: int | None = None


_EPOCHS = b"dprune_epochs"


def write_features(
    path: Path,
    keys: Sequence[str],
    labels: NDArray[np.integer],
    features: NDArray[np.float32],
    logits: NDArray[np.float32],
    epochs: int,
) -> None:
    """Write one row a sample, seen after the last of `epochs` epochs."""
    table = pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "label": pa.array(labels, pa.int32()),
            "features": vector_array(features),
            "logits": vector_array(logits),
        }
    )
    table = table.replace_schema_metadata({_EPOCHS: str(epochs)})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def read_features(
    path: Path, known: list[str] | None = None, labels: NDArray[np.int32] | None = None
) -> Features:
    """Read features, in the order of `known` (default: of the file's sorted keys).

    Raises:
        DataError: no such file, a column missing, keys or labels that do not match, a sample that is
            missing or stands there twice, a number that is not finite, a label without a logit.
    """
    source = str(path)
    table = open_parquet(path, ("key", "label", "features")).read()
    if table.num_rows == 0:
        raise DataError(f"{source}: there is not one row in it")
    keys = texts(table["key"], "key", source)
    order = known if known is not None else sorted(set(keys.to_pylist()))
    rows = rows_by_key(keys, {key: row for row, key in enumerate(order)}, source)
    count = np.bincount(rows, minlength=len(order))
    for wrong, what in ((count > 1, "stands there twice"), (count == 0, "has no features")):
        if wrong.any():
            first = order[int(np.flatnonzero(wrong)[0])]
            raise DataError(f"{source}: key {first!r} {what} ({int(wrong.sum())} samples like this)")
    place = np.argsort(rows)
    found = whole_numbers(table["label"], "label", source)
    if labels is None:
        labels = found[place].astype(np.int32)
    check_labels(found, labels, order, rows, source)
    features = vectors(table["features"], "features", source)[place]
    logits = vectors(table["logits"], "logits", source)[place] if "logits" in table.column_names else None
    check_classes(labels, None if logits is None else logits.shape[1], source)
    epochs = (table.schema.metadata or {}).get(_EPOCHS, b"").decode("ascii", "replace")
    return Features(order, labels, features, logits, int(epochs) if epochs.isdecimal() else None)
