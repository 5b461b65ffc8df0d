"""A score table as `quota` and `select` see it: rows in pieces, of which only the needed columns are read.

The rows may lie in memory (`ScoreTable`) or in files (`StoredTable`). A piece is some 100,000 rows; several
are read at a time by threads, and handed on in order, so that what is held in memory is what the caller
keeps of them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, cast, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.core.info import End
from dprune_cli.core.progress import Progress
from dprune_cli.io.table_chunks import Chunk, Footer
from dprune_cli.io.table_meta import TableMeta

# Threads that read pieces: more would only hold more of them in memory.
_THREADS = min(4, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")
Computed = Callable[[slice], pa.Array]
"""Rows to the values of a column for them, in the type that `COLUMN_TYPES` has for it."""


class TableView(ABC):
    """N rows and their metadata; immutable, every change is a new table.

    Attributes:
        meta: what the table says of itself.
        source: where it is from, as messages have it.
    """

    meta: TableMeta
    source: str

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""

    @property
    @abstractmethod
    def edges(self) -> NDArray[np.int64]:
        """(P + 1,) first rows of the P pieces, and N; ascending."""

    @abstractmethod
    def read_piece(self, number: int, columns: list[str]) -> pa.Table:
        """These columns of a piece; may be called by several threads at a time."""

    def stored_chunks(self, number: int, frame: Footer) -> dict[str, list[Chunk]]:
        """Columns of a piece that are stored as they would be written.

        Args:
            number: of the piece.
            frame: the footer of a file that these columns are to be copied to.
        """
        return {}

    @abstractmethod
    def with_computed(self, **columns: Computed) -> Self:
        """The table with columns added, or replaced where they stand, which are computed by rows."""

    @abstractmethod
    def without(self, *columns: str) -> Self:
        """The table without these columns, as far as it has them."""

    @abstractmethod
    def with_meta(self, meta: TableMeta) -> Self:
        """The same rows with other metadata."""

    def __len__(self) -> int:
        return int(self.edges[-1])

    def __contains__(self, column: str) -> bool:
        return column in self.schema.names

    def need(self, *columns: str) -> None:
        """`DataError` naming the first of `columns` that is missing."""
        for column in columns:
            if column not in self:
                have = ", ".join(self.schema.names)
                raise DataError(f"{self.source}: there is no column {column!r}; it has {have}")

    def map(
        self,
        function: Callable[[pa.Table], Result],
        columns: Iterable[str],
        only: Iterable[int] | None = None,
    ) -> Iterator[tuple[slice, Result]]:
        """What `function` makes of every piece, in order, with the rows of the piece.

        Args:
            function: called by threads.
            columns: what it is given, as far as the table has them.
            only: numbers of the pieces, by default all.
        """
        wanted = [name for name in columns if name in self]
        edges = self.edges
        numbers = range(len(edges) - 1) if only is None else only
        rows = {number: slice(int(edges[number]), int(edges[number + 1])) for number in numbers}
        results = in_order(lambda number: function(self.read_piece(number, wanted)), rows)
        yield from zip(rows.values(), results, strict=True)

    def value(self, column: str, row: int) -> Any:
        """One value, as a Python object."""
        number = int(np.searchsorted(self.edges, row, side="right")) - 1
        return self.read_piece(number, [column])[column][row - int(self.edges[number])].as_py()

    def keep_first(self, column: str, progress: Progress) -> End:
        """The end of a column that is kept first: what its metadata say, else the high one, with a note."""
        known = self.meta.scores.get(column, {}).get("keep_first")
        if known in get_args(End):
            return cast(End, known)
        progress.note(
            f"{self.source} does not say which end of {column!r} to keep: the high one is kept first"
        )
        return "high"


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What threads make of the items, in their order; only a few are ahead of the caller."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for item in items:
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
