"""The hard cutoff of a selection: the hardest candidates of every stratum are left out before picking."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.budget import round_half_up
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.seeds import derive
from dprune_cli.io.table_columns import read_numbers
from dprune_cli.io.table_keys import KeyHashes
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.ranking import choose
from dprune_cli.pickers.base import Cutoff, HardEnd
from dprune_cli.stages.select_strata import Strata, ties_among, values_of


def hard_end(table: TableView, column: str) -> HardEnd | None:
    """The end of a column that is hard, as its metadata have it; None where they do not say."""
    found = table.meta.scores.get(column, {}).get("hard_end")
    return found if found in ("high", "low") else None


def with_end(cutoff: Cutoff, table: TableView) -> Cutoff:
    """The cutoff with its hard end, from the metadata unless it was given.

    Raises:
        DataError: the column is missing.
        UsageError: the metadata do not say which end is hard.
    """
    if cutoff.by not in table:
        raise DataError(
            f"{table.source}: there is no column {cutoff.by!r} to cut the hardest by; name one, "
            "--pick ...,cutoff_by=COLUMN"
        )
    end = cutoff.end or hard_end(table, cutoff.by)
    if end is None:
        raise UsageError(
            f"{table.source} does not say which end of {cutoff.by!r} is hard; add cutoff_end=high or "
            "cutoff_end=low to --pick"
        )
    return dataclasses.replace(cutoff, end=end)


def cut_hardest(
    table: TableView, cutoff: Cutoff, candidates: NDArray[np.bool_], strata: Strata, seed: int
) -> NDArray[np.bool_]:
    """(N,) the rows that are cut: of m candidates of a stratum round-half-up(share * m), the hardest ones.

    A candidate without a value cannot be called hard: it is not cut, and m does not count it. Equal values
    go by a seeded hash of the key, the smallest first.

    Args:
        table: N rows.
        cutoff: with its end, see `with_end`.
        candidates: (N,) whether a row is one.
        strata: what the share is of.
        seed: the user's.

    Raises:
        DataError: the column is missing, or holds no numbers or NaN.
    """
    values = read_numbers(table, cutoff.by)
    # As a decimal, which is what the user wrote: 0.15 of 10 is 1.5, though 0.15 * 10 need not be.
    share = Fraction(repr(cutoff.share))
    # A stream of its own: picked at random are the smallest hashes, and those of a tie would be cut here.
    hashes = KeyHashes(table, derive(seed, "cutoff"))
    cut = np.zeros(len(table), bool)
    for rows in strata.split(candidates & ~np.isnan(values)):
        count = round_half_up(share * len(rows))
        hardest = choose(values_of(values, rows), count, ties_among(hashes, rows), cutoff.end or "high")
        cut[rows[hardest]] = True
    return cut
