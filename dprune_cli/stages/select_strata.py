"""What a selection picks within: classes or groups with quotas, or the data set as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.budget import Budget
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.io.table_columns import StratumColumn, read_integers, read_strata
from dprune_cli.io.table_keys import KeyHashes
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.coverage import sort_strata
from dprune_cli.metrics.ranking import Tie, blocks, positions


@dataclass(frozen=True)
class Strata:
    """S strata of N rows.

    Attributes:
        quotas: (S,) samples to keep of each.
        names: S names, as messages have them.
        order: (M,) rows that may be kept, by stratum and ascending; None if there is one stratum, which has
            all rows, whether they may be kept or not.
        edges: (S + 1,) where every stratum begins in `order`; None without one.
    """

    quotas: NDArray[np.int64]
    names: list[str]
    order: NDArray[Any] | None = None
    edges: NDArray[np.int64] | None = None

    def members(self, number: int) -> NDArray[Any] | slice:
        """All rows of a stratum that may be kept."""
        if self.order is None or self.edges is None:
            return slice(None)
        return self.order[self.edges[number] : self.edges[number + 1]]

    def split(self, wanted: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
        """S arrays: the rows of every stratum that are `wanted` (N,), ascending; all of them may be kept."""
        if self.order is None or self.edges is None:
            yield positions(wanted)
            return
        everybody = np.count_nonzero(wanted) == len(self.order)
        for number in range(len(self.quotas)):
            rows = self.order[self.edges[number] : self.edges[number + 1]]
            yield rows if everybody else rows[wanted[rows]]


def find_strata(table: TableView, ok: NDArray[np.bool_], keep: Budget | None, *, everywhere: bool) -> Strata:
    """The strata of the table's quotas, or one stratum of all samples where it has none.

    Args:
        table: what is selected from.
        ok: (N,) rows that may be kept.
        keep: `--keep`, which may repeat what the quotas keep in all.
        everywhere: `--global`, ignore the quotas.

    Raises:
        UsageError: no budget.
        DataError: quotas that differ within a stratum, or are negative.
        BudgetError: the budget is more than there is, or not what the quotas keep.
    """
    if "quota" not in table or everywhere:
        if keep is None:
            raise UsageError("give --keep, or a table with quotas from `dprune quota`")
        return Strata(np.array([keep.count(int(np.count_nonzero(ok)))]), ["the data set"])
    strata = read_strata(table, quota_by(table), ok)
    quotas = _read_quotas(table, strata, ok)
    if keep is not None and keep.count(int(np.count_nonzero(ok))) != quotas.sum():
        raise BudgetError(
            f"--keep {keep.text} is not the {quotas.sum()} that the quotas keep; "
            "drop --keep, run quota again, or give --global to ignore them"
        )
    return Strata(quotas, strata.names, *sort_strata(strata.ids, len(strata.names), ok))


def _read_quotas(table: TableView, strata: StratumColumn, ok: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(S,) the quotas that the rows of every stratum have."""
    quota = read_integers(table, "quota")
    quotas = np.zeros(len(strata.names), np.int64)
    for ids, own in _usable(strata.ids, quota, ok):
        quotas[ids] = own
    # A stratum of two quotas has the later one by now.
    _refuse_first(table, strata, ((ids, own != quotas[ids]) for ids, own in _usable(strata.ids, quota, ok)))
    if (quotas < 0).any():
        _refuse_first(table, strata, ((ids, own < 0) for ids, own in _usable(strata.ids, quota, ok)))
    return quotas


def _usable(
    ids: NDArray[Any], quota: NDArray[Any], ok: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The stratum ids and quotas of rows that may be kept, a block at a time."""
    for rows in blocks(len(ok)):
        able = ok[rows]
        yield (ids[rows], quota[rows]) if able.all() else (ids[rows][able], quota[rows][able])


def _refuse_first(
    table: TableView, strata: StratumColumn, found: Iterable[tuple[NDArray[Any], NDArray[np.bool_]]]
) -> None:
    """`DataError` for the first row that is wrong, of blocks of stratum ids and what is wrong of them."""
    for ids, wrong in found:
        if wrong.any():
            where = strata.names[ids[int(np.argmax(wrong))]]
            raise DataError(
                f"{table.source}: column 'quota' must hold one number of at least 0 for all of {where!r}"
            )


def quota_by(table: TableView) -> str:
    """What the quotas of a table are of: `class` or `group`."""
    return str(table.meta.last_step("quota").get("by", "class"))


def ties_among(hashes: KeyHashes, rows: NDArray[Any]) -> Tie:
    """Positions in `rows` to the seeded hashes of their keys."""
    return lambda positions: hashes(rows[positions])


def values_of(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """The values (N,) of ascending rows; not copied where these are all rows."""
    return values if len(rows) == len(values) else values[rows]
