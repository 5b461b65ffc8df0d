"""What a selection picks within: classes or groups with quotas, or the data set as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.budget import Budget
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.io.arrow import from_numpy
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.table import ScoreTable
from dprune_cli.metrics.ranking import Tie


@dataclass(frozen=True)
class Strata:
    """S strata of N rows.

    Attributes:
        stratum: (N,) the stratum of every row that may be kept.
        quotas: (S,) samples to keep of each.
        names: S names, as messages have them.
    """

    stratum: NDArray[np.int64]
    quotas: NDArray[np.int64]
    names: list[str]

    def split(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """S arrays: ascending `rows` by stratum."""
        # The narrowest type makes NumPy's stable sort a radix sort: that keeps ten million rows cheap.
        kind = np.min_scalar_type(len(self.quotas))
        order = rows[np.argsort(self.stratum[rows].astype(kind), kind="stable")]
        counts = np.bincount(self.stratum[rows], minlength=len(self.quotas))
        return np.split(order, np.cumsum(counts)[:-1])


def find_strata(table: ScoreTable, ok: NDArray[np.bool_], keep: Budget | None, *, everywhere: bool) -> Strata:
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
        return Strata(np.zeros(len(table), np.int64), np.array([keep.count(int(ok.sum()))]), ["the data set"])
    by = quota_by(table)
    stratum, names = table.strata(by), table.stratum_names(by)
    quota = table.integers("quota")
    quotas = np.zeros(len(names), np.int64)
    quotas[stratum[ok]] = quota[ok]
    differing = ok & (quota != quotas[np.maximum(stratum, 0)])
    if differing.any() or (quota[ok] < 0).any():
        where = names[stratum[np.flatnonzero(differing if differing.any() else ok & (quota < 0))[0]]]
        raise DataError(
            f"{table.source}: column 'quota' must hold one number of at least 0 for all of {where!r}"
        )
    if keep is not None and keep.count(int(ok.sum())) != quotas.sum():
        raise BudgetError(
            f"--keep {keep.text} is not the {quotas.sum()} that the quotas keep; "
            "drop --keep, run quota again, or give --global to ignore them"
        )
    return Strata(stratum, quotas, names)


def quota_by(table: ScoreTable) -> str:
    """What the quotas of a table are of: `class` or `group`."""
    return str(table.meta.last_step("quota").get("by", "class"))


def hashes_of(table: ScoreTable, rows: NDArray[np.int64], seed: int) -> Tie:
    """Positions in `rows` to the seeded hashes of their keys."""

    def tie(positions: NDArray[np.int64]) -> NDArray[np.uint64]:
        return hash_keys(table.data["key"].take(from_numpy(rows[positions])), seed)

    return tie
