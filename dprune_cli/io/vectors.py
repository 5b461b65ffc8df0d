"""Columns of equally long float vectors (logits, features), and rows found by their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError


def vector_array(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """(n, W) numbers as n lists of W float32."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def vectors(column: pa.Array, name: str, source: str) -> NDArray[np.float32]:
    """(n, W) numbers of a column of lists.

    Raises:
        DataError: the lists differ in length, hold no numbers, or one of them is not finite.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{source}: column {name!r} holds {kind}, not lists of numbers")
    lengths = pc.unique(pc.list_value_length(column))
    if len(lengths) > 1 or column.null_count:
        raise DataError(f"{source}: the lists of column {name!r} have different lengths")
    width = lengths[0].as_py() if len(lengths) else 0
    try:
        flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{source}: column {name!r} holds {kind}, not lists of numbers") from None
    values = flat.reshape(len(column), width)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise DataError(f"{source}: column {name!r} holds NaN or infinity (row {row} of a batch)")
    return values


def open_parquet(path: Path, needed: tuple[str, ...]) -> pq.ParquetFile:
    """An open Parquet file that has the `needed` columns."""
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: this is no Parquet file ({str(error).splitlines()[0]})") from None
    for name in needed:
        if name not in file.schema_arrow.names:
            raise DataError(
                f"{path}: there is no column {name!r}; it has {', '.join(file.schema_arrow.names)}"
            )
    return file


def rows_by_key(keys: pa.ChunkedArray, known: list[str], source: str) -> NDArray[np.int64]:
    """For every key its place in `known`.

    Raises:
        DataError: a key is unknown.
    """
    place = pc.index_in(keys.cast(pa.string()), value_set=pa.array(known, pa.string()))
    if place.null_count:
        first = keys.filter(pc.is_null(place))[0].as_py()
        raise DataError(
            f"{source}: key {first!r} is not among the samples ({place.null_count} rows like this)"
        )
    return np.asarray(place.combine_chunks().cast(pa.int64()))


def check_labels(
    found: NDArray[Any], expected: NDArray[Any], known: list[str], rows: NDArray[np.int64], source: str
) -> None:
    """`DataError` at the first row whose label is not the sample's."""
    wrong = np.flatnonzero(found != expected[rows])
    if len(wrong):
        row = int(wrong[0])
        have, want = found[row], expected[rows[row]]
        raise DataError(f"{source}: key {known[rows[row]]!r} has label {have}, but the sample has {want}")
