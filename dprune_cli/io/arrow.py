"""NumPy and Arrow arrays from one another, straight over their buffers.

Arrow's own conversions import pandas wherever it happens to be installed, which takes longer than
everything else that `quota` and a table-only `select` do to a small table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def from_numpy(values: NDArray[Any], null: NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers or booleans (N,) as an Arrow array; null where `null` (N,) says so.

    >>> from_numpy(np.array([3, 4]), np.array([False, True])).to_pylist()
    [3, None]
    """
    flat = np.ascontiguousarray(values)
    boolean = flat.dtype == np.bool_
    kind = pa.bool_() if boolean else pa.from_numpy_dtype(flat.dtype)
    data = _bits(flat) if boolean else pa.py_buffer(flat)
    return pa.Array.from_buffers(kind, len(flat), [None if null is None else _bits(~null), data])


def to_numpy(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values (N,) of a column of numbers or booleans, and (N,) where they are null (the value is then any).

    >>> values, null = to_numpy(pa.chunked_array([[1, None], [3]], pa.int32()))
    >>> values[~null].tolist(), null.tolist()
    ([1, 3], [False, True, False])
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    kind = np.dtype(np.bool_) if pa.types.is_boolean(column.type) else np.dtype(column.type.to_pandas_dtype())
    values = [_values(chunk, kind) for chunk in chunks]
    null = [_nulls(chunk) for chunk in chunks]
    if len(chunks) == 1:
        return values[0], null[0]
    return np.concatenate([np.empty(0, kind), *values]), np.concatenate([np.empty(0, bool), *null])


def strings(values: Sequence[str]) -> pa.Array:
    """Strings as an Arrow array.

    >>> strings(["a", "", "é"]).to_pylist()
    ['a', '', 'é']
    """
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def empty(schema: pa.Schema) -> pa.Table:
    """A table of these columns without rows."""
    return pa.Table.from_batches([], schema)


def dictionary(codes: NDArray[Any], names: Sequence[str], null: NDArray[np.bool_] | None = None) -> pa.Array:
    """(N,) integer codes into `names` as a dictionary array of strings; what is null may have any code."""
    return pa.DictionaryArray.from_arrays(from_numpy(codes.astype(np.int32), null), strings(names))


def equals(column: pa.ChunkedArray, word: str) -> NDArray[np.bool_]:
    """(N,) where a column of strings, as a dictionary or not, is `word`; null is not."""
    found = []
    for chunk in column.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        codes, null = to_numpy(encoded.indices)
        same = np.array([name == word for name in encoded.dictionary.to_pylist()], bool)
        # Null codes are any number, so they are looked up where a code surely exists.
        found.append(same[np.where(null, 0, codes)] & ~null if len(same) else np.zeros(len(chunk), bool))
    return np.concatenate([np.empty(0, bool), *found])


def _bits(values: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _values(chunk: pa.Array, kind: np.dtype[Any]) -> NDArray[Any]:
    raw = chunk.buffers()[1]
    if raw is None:
        return np.zeros(len(chunk), kind)
    if kind == np.bool_:
        return _unpack(raw, chunk.offset, len(chunk))
    return np.frombuffer(raw, kind)[chunk.offset : chunk.offset + len(chunk)]


def _nulls(chunk: pa.Array) -> NDArray[np.bool_]:
    valid = chunk.buffers()[0] if chunk.null_count else None
    if valid is None:
        return np.full(len(chunk), chunk.null_count > 0)
    return ~_unpack(valid, chunk.offset, len(chunk))


def _unpack(raw: pa.Buffer, offset: int, length: int) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=offset + length, bitorder="little")
    return bits[offset:].astype(bool)
