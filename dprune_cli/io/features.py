"""Recorded features: embedding and logits of every sample in one clean pass, of this or any other model.

A Parquet file, or a folder of such part files, with `key`, `label`, `features` (D float32) and, where they
are known, `logits` (C float32) and `group` (a name or a number; null for a sample without one). If dprune
wrote it, its metadata say after which epoch of a schedule they were taken (`dprune_epochs`), and the names
of the classes (`dprune_classes`, JSON).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.parts import PartFiles
from dprune_cli.io.remote import Place
from dprune_cli.io.vectors import (
    check_classes,
    check_labels,
    class_ids,
    open_parquet,
    rows_by_key,
    texts,
    vector_array,
    vectors,
)


@dataclass(frozen=True)
class Features:
    """Features of N samples.

    Attributes:
        keys: (N,) sample keys.
        labels: (N,) class ids.
        features: (N, D).
        logits: (N, C) or None.
        outputs: C, how many logits there are, even where they were not read; None without.
        epochs: after which epoch of a schedule, if it is known.
        group: (N,) indices into `groups`, -1 where unknown; None without groups.
        groups: names of groups, sorted; numbers by their size.
        classes: names of classes by id; empty if they are not known.
    """

    keys: list[str]
    labels: NDArray[np.int32]
    features: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    outputs: int | None = None
    epochs: int | None = None
    group: NDArray[np.int32] | None = None
    groups: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def count_classes(self) -> int:
        """C: as many as there are names or logits, else up to the largest label."""
        if self.classes:
            return len(self.classes)
        return int(self.labels.max()) + 1 if self.outputs is None else self.outputs


_EPOCHS = b"dprune_epochs"
_CLASSES = b"dprune_classes"
# Rows read at a time; of ImageNet-sized features 50 MB.
_ROWS = 16_384


def write_features(
    path: Place,
    keys: Sequence[str],
    labels: NDArray[np.integer],
    features: NDArray[np.float32],
    logits: NDArray[np.float32],
    epochs: int,
    groups: Sequence[str | None] | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Write one row a sample, seen after the last of `epochs` epochs.

    `groups` are names of groups, None for a sample without one; `classes` are names by id.
    """
    columns = {
        "key": pa.array(keys, pa.string()),
        "label": pa.array(labels, pa.int32()),
        **({} if groups is None else {"group": pa.array(groups, pa.string())}),
        "features": vector_array(features),
        "logits": vector_array(logits),
    }
    metadata: dict[bytes, str] = {_EPOCHS: str(epochs)}
    if classes:
        metadata[_CLASSES] = json.dumps(list(classes), ensure_ascii=False)
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def recorded_keys(path: Place) -> set[str]:
    """The keys in a file of features; `DataError` if it is none."""
    return set(texts(open_parquet(path, ("key",)).read(columns=["key"])["key"], "key", str(path)).to_pylist())


def read_features(
    path: Place,
    known: list[str] | None = None,
    labels: NDArray[np.int32] | None = None,
    *,
    with_logits: bool = True,
) -> Features:
    """Read features, in the order of `known` (default: of the file's sorted keys).

    Args:
        path: the file.
        known: (N,) the keys that it is to hold.
        labels: (N,) their class ids.
        with_logits: whether logits are wanted; only how many there are is looked up otherwise.

    Raises:
        DataError: no such file, a column missing, keys or labels that do not match, a sample that is
            missing or stands there twice, a number that is not finite, a label without a logit.
    """
    source = str(path)
    file = open_parquet(path, ("key", "label", "features"))
    has_logits = "logits" in file.schema.names
    table = file.read(columns=[name for name in ("key", "label", "group") if name in file.schema.names])
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
    found = class_ids(table["label"], source)
    if labels is None:
        labels = found[place].astype(np.int32)
    check_labels(found, labels, order, rows, source)
    outputs = _width(file, "logits", source) if has_logits else None
    check_classes(labels, outputs, source)
    features = _read_vectors(file, "features", rows, source)
    logits = _read_vectors(file, "logits", rows, source) if has_logits and with_logits else None
    group, groups = _groups(table["group"], source) if "group" in table.column_names else (None, [])
    metadata = table.schema.metadata or {}
    epochs = metadata.get(_EPOCHS, b"").decode("ascii", "replace")
    classes = _classes(metadata.get(_CLASSES), labels, outputs, source)
    return Features(
        keys=order,
        labels=labels,
        features=features,
        logits=logits,
        outputs=outputs,
        epochs=int(epochs) if epochs.isdecimal() else None,
        group=None if group is None else group[place],
        groups=groups,
        classes=classes,
    )


def _read_vectors(file: PartFiles, name: str, rows: NDArray[np.int64], source: str) -> NDArray[np.float32]:
    """(N, W) a column of vectors; row i of the file goes to `rows[i]`, so that no second copy is needed."""
    found = np.empty((len(rows), _width(file, name, source)), np.float32)
    first = 0
    for batch in file.iter_batches(_ROWS, [name]):
        values = vectors(batch.column(0), name, source, first)
        if values.shape[1] != found.shape[1]:
            raise DataError(f"{source}: the lists of column {name!r} have different lengths")
        found[rows[first : first + len(values)]] = values
        first += len(values)
    return found


def _width(file: PartFiles, name: str, source: str) -> int:
    """The length of the vectors in a file that is not empty."""
    return vectors(next(file.iter_batches(1, [name])).column(0), name, source).shape[1]


def _groups(column: pa.ChunkedArray, source: str) -> tuple[NDArray[np.int32], list[str]]:
    """(n,) indices into the names of groups, -1 where there is none, and the names."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{source}: column 'group' holds {column.type}, neither names nor whole numbers")
    plain = column.cast(kind)
    values = pc.unique(plain.drop_null())
    values = values.take(pc.sort_indices(values))
    place = pc.fill_null(pc.index_in(plain, value_set=values), -1)
    return place.to_numpy().astype(np.int32), [str(value) for value in values.to_pylist()]


def _classes(raw: bytes | None, labels: NDArray[np.int32], outputs: int | None, source: str) -> list[str]:
    """The names of classes in the metadata; empty if there are none."""
    if raw is None:
        return []
    try:
        names = json.loads(raw)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{source}: the class names in its metadata are not ours")
    if len(names) <= int(labels.max()) or outputs not in (None, len(names)):
        raise DataError(f"{source}: its {len(names)} class names do not fit its labels or logits")
    return names
