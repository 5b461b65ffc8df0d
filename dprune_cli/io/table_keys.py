"""The keys of a table: that none stands there twice, and their seeded hashes."""

from __future__ import annotations

from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.arrow import from_numpy, to_numpy
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.table_columns import piece_ok
from dprune_cli.io.table_view import TableView

_COLUMNS = ("key", "status")
# Seed of the hashes that tell a key that stands there twice from two keys of one hash.
_SECOND = 1


def check_keys(table: TableView) -> NDArray[np.uint64]:
    """Hashes of the keys of rows that may be kept, sorted; `DataError` if two have the same key."""
    table.need("key")
    hashes = np.empty(len(table), np.uint64)
    count = 0
    for _, found in table.map(lambda piece: hash_keys(_ok_keys(piece)), _COLUMNS):
        hashes[count : count + len(found)] = found
        count += len(found)
    hashes = hashes[:count]
    _sort(hashes)
    repeated = hashes[1:] == hashes[:-1]
    if repeated.any():
        _check_twice(table, np.unique(hashes[1:][repeated]))
    return hashes


def _ok_keys(piece: pa.Table) -> pa.ChunkedArray:
    ok = piece_ok(piece)
    return piece["key"] if ok.all() else piece["key"].filter(from_numpy(ok))


def _sort(values: NDArray[np.uint64]) -> None:
    """Sort in place, by two threads."""
    if len(values) < 2:
        return
    middle = len(values) // 2
    values.partition(middle)
    upper = Thread(target=values[middle:].sort)
    upper.start()
    values[:middle].sort()
    upper.join()


def _check_twice(table: TableView, suspects: NDArray[np.uint64]) -> None:
    """`DataError` if two keys with one of these hashes are the same, which a second hash tells.

    The keys themselves are not compared, because all of a large table may stand there twice.
    """

    def second(piece: pa.Table) -> NDArray[np.uint64]:
        keys = _ok_keys(piece)
        place = np.searchsorted(suspects, first := hash_keys(keys))
        suspected = suspects[np.minimum(place, len(suspects) - 1)] == first
        keys = keys.filter(from_numpy(suspected))
        # A missing key is none of the empty ones, which have the same hash.
        return hash_keys(keys, _SECOND) ^ _missing(keys)

    found = np.concatenate([hashes for _, hashes in table.map(second, _COLUMNS)])
    twice, counts = np.unique(found, return_counts=True)
    twice = twice[counts > 1]
    if len(twice):
        key = _first_of(table, twice)
        raise DataError(f"{table.source}: {len(twice)} keys stand in it more than once (first {key!r})")


def _first_of(table: TableView, hashes: NDArray[np.uint64]) -> Any:
    """The first key whose second hash is one of these."""

    def look(piece: pa.Table) -> list[Any]:
        keys = _ok_keys(piece)
        rows = np.flatnonzero(np.isin(hash_keys(keys, _SECOND) ^ _missing(keys), hashes))[:1]
        return keys.take(from_numpy(rows)).to_pylist()

    return next(keys[0] for _, keys in table.map(look, _COLUMNS) if keys)


def _missing(keys: pa.ChunkedArray) -> NDArray[np.uint64]:
    """(n,) 1 where a key is null, else 0."""
    null = [to_numpy(chunk.is_null())[0] for chunk in keys.chunks]
    return np.concatenate([np.empty(0, bool), *null]).astype(np.uint64)


class KeyHashes:
    """Seeded hashes of the keys of rows: what breaks ties, and what a random choice goes by.

    The keys of a piece are read when one of them is asked for the first time, and the hashes are kept.
    Most rankings have few ties, so most keys are never read again.
    """

    def __init__(self, table: TableView, seed: int) -> None:
        self._table, self._seed = table, seed
        # Memory that is never written takes no room.
        self._hashes = np.empty(len(table), np.uint64)
        self._known = np.zeros(len(table.edges) - 1, bool)

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.uint64]:
        """(R,) hashes of the keys of `rows` (R,)."""
        if not self._known.all():
            self._read(np.unique(np.searchsorted(self._table.edges, rows, side="right") - 1))
        return self._hashes[rows]

    def _read(self, pieces: NDArray[np.int64]) -> None:
        missing = pieces[~self._known[pieces]].tolist()
        for rows, found in self._table.map(
            lambda piece: hash_keys(piece["key"], self._seed), ["key"], missing
        ):
            self._hashes[rows] = found
        self._known[missing] = True
