"""Where a selection by rank cuts through its column, and how near to the cut every sample lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.io.table_columns import read_numbers, read_ok, read_strata
from dprune_cli.io.table_view import TableView
from dprune_cli.stages.select import REASONS, Selection
from dprune_cli.stages.select_strata import quota_by

_RANKED = REASONS.index("rank")


@dataclass(frozen=True)
class Cuts:
    """The cuts of a selection by rank.

    Attributes:
        column: what was ranked by.
        by: `class` or `group`, each of which has its own cuts, or `data set`, which has one.
        values: the kept values next to what is dropped; one or two a stratum.
        distance: (N,) of the value of a sample to the nearest cut of its stratum; NaN for samples that
            were not ranked, or whose stratum has no cut.
    """

    column: str
    by: str
    values: NDArray[np.float64]
    distance: NDArray[np.floating[Any]]


def find_cuts(found: Selection) -> Cuts | None:
    """The cuts of a selection; None if it is not one end, or the middle, of a ranking.

    A stratum of which everything or nothing was kept has no cut.
    """
    step = found.table.meta.last_step("select")
    table, column = found.table, str(step.get("by"))
    if step.get("pick") != "top" or column not in table:
        return None
    end = step.get("parameters", {}).get("end") or "high"
    values = read_numbers(table, column)
    by, ids, strata = _strata(table, everywhere=bool(step.get("global")))
    ranked = found.keep | (found.outcomes == _RANKED)
    cut = np.zeros(strata, bool)
    cut[ids[found.outcomes == _RANKED]] = True
    distance = np.full(len(values), np.nan, values.dtype)
    edges = []
    if end != "low":
        edges.append(_extremes(values, ids, found.keep, cut, np.minimum, np.inf))
    if end != "high":
        edges.append(_extremes(values, ids, found.keep, cut, np.maximum, -np.inf))
    for edge in edges:
        own = np.full(len(values), np.nan, values.dtype)
        own[ranked] = np.abs(values[ranked] - edge[ids[ranked]])
        distance = np.fmin(distance, own)
    known = np.concatenate([edge[np.isfinite(edge)] for edge in edges])
    return Cuts(column, by, np.sort(known), distance)


def _strata(table: TableView, *, everywhere: bool) -> tuple[str, NDArray[Any], int]:
    """What the ranking was within: its name, (N,) ids, and how many there are."""
    if "quota" not in table or everywhere:
        return "data set", np.zeros(len(table), np.int8), 1
    by = quota_by(table)
    strata = read_strata(table, by, read_ok(table))
    return by, strata.ids, len(strata.names)


def _extremes(
    values: NDArray[Any],
    ids: NDArray[Any],
    keep: NDArray[np.bool_],
    cut: NDArray[np.bool_],
    function: np.ufunc,
    start: float,
) -> NDArray[np.float64]:
    """(S,) the smallest or largest kept value of every stratum that is cut; NaN for the others."""
    result = np.full(len(cut), start)
    function.at(result, ids[keep], values[keep].astype(np.float64))
    result[~cut | np.isinf(result)] = np.nan
    return result
