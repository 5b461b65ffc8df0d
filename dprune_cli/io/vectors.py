"""Columns of equally long float vectors (logits, features), and rows found by their keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.parts import PartFiles
from dprune_cli.io.remote import Place


def vector_array(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """(n, W) numbers as n lists of W float32."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def whole_numbers(column: pa.Array, name: str, source: str) -> NDArray[np.int64]:
    """(n,) integers; `DataError` if a value is missing or none."""
    try:
        numbers = column.cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{source}: column {name!r} holds {column.type}, not whole numbers") from None
    if numbers.null_count:
        raise DataError(f"{source}: column {name!r} lacks a value in {numbers.null_count} rows")
    return numbers.to_numpy(zero_copy_only=False) if isinstance(numbers, pa.Array) else numbers.to_numpy()


def class_ids(column: pa.Array, source: str) -> NDArray[np.int64]:
    """(n,) labels that fit into 32 bits; `DataError` if one does not."""
    found = whole_numbers(column, "label", source)
    wrong = found[(found < -(2**31)) | (found >= 2**31)]
    if len(wrong):
        raise DataError(f"{source}: column 'label' holds {wrong[0]}, which is no class id")
    return found


def texts(column: pa.Array, name: str, source: str) -> pa.Array:
    """(n,) strings; `DataError` if a value is missing or none."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{source}: column {name!r} holds {column.type}, not text")
    if column.null_count:
        raise DataError(f"{source}: column {name!r} lacks a value in {column.null_count} rows")
    return column.cast(pa.string())


def vectors(column: pa.Array, name: str, source: str, first: int = 0) -> NDArray[np.float32]:
    """(n, W) numbers of a column of lists, whose first row is row `first` of the file.

    Raises:
        DataError: the lists differ in length, hold no numbers, or one of them is not finite.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{source}: column {name!r} holds {kind}, not lists of numbers")
    if column.null_count:
        raise DataError(f"{source}: column {name!r} lacks a value in {column.null_count} rows")
    lengths = pc.unique(pc.list_value_length(column))
    if len(lengths) > 1:
        raise DataError(f"{source}: the lists of column {name!r} have different lengths")
    width = lengths[0].as_py() if len(lengths) else 0
    try:
        flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{source}: column {name!r} holds {kind}, not lists of numbers") from None
    values = flat.reshape(len(column), width)
    if not np.isfinite(values).all():
        row = first + int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise DataError(f"{source}: column {name!r} holds NaN or infinity, first in row {row}")
    return values


def open_parquet(path: Place, needed: tuple[str, ...]) -> PartFiles:
    """An open Parquet file, or folder of part files, that has the `needed` columns."""
    file = PartFiles(path)
    for name in needed:
        if name not in file.schema.names:
            raise DataError(f"{path}: there is no column {name!r}; it has {', '.join(file.schema.names)}")
    return file


def rows_by_key(keys: pa.Array, place: dict[str, int], source: str) -> NDArray[np.int64]:
    """For every key its place; `DataError` if it has none."""
    rows = np.fromiter((place.get(key, -1) for key in keys.to_pylist()), np.int64, len(keys))
    if len(rows) and rows.min() < 0:
        unknown = np.flatnonzero(rows < 0)
        raise DataError(
            f"{source}: key {keys[int(unknown[0])].as_py()!r} is not among the samples; is it a recording of "
            "other data?"
        )
    return rows


def check_labels(
    found: NDArray[Any], expected: NDArray[Any], known: list[str], rows: NDArray[np.int64], source: str
) -> None:
    """`DataError` at the first row whose label is not the sample's."""
    wrong = np.flatnonzero(found != expected[rows])
    if len(wrong):
        row = int(wrong[0])
        have, want = found[row], expected[rows[row]]
        raise DataError(f"{source}: key {known[rows[row]]!r} has label {have}, but the sample has {want}")


def check_classes(labels: NDArray[Any], classes: int | None, source: str) -> None:
    """`DataError` if a label is negative, or has no logit where there are `classes` of them."""
    for label in (int(labels.min()), int(labels.max())):
        if label < 0:
            raise DataError(f"{source}: label {label} is negative; class ids count from 0")
        if classes is not None and label >= classes:
            raise DataError(f"{source}: label {label} has no logit; there are {classes}, from 0 on")
