"""Which columns of a table are scores, which of them says how difficult a sample is, and how they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import DpruneError
from dprune_cli.core.progress import Silent
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.io.arrow import to_numpy
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.agreement import overlaps, rank_correlations
from dprune_cli.pickers.base import HardEnd
from dprune_cli.stages.select import RANDOM, Selection, SelectRequest, select
from dprune_cli.stages.select_cutoff import hard_end

LOSS = "loss"
# Ranks of more samples than these would say the same, and take long.
MOST_RANKED = 200_000
# Numbers that name something, whatever they are ranked by.
_IDS = ("label", "group", "pred")
# Tried in this order where the selection itself does not go by difficulty.
_WELL_KNOWN = ("aum", "el2n")


@dataclass(frozen=True)
class Difficulty:
    """A column that says how hard a sample is, and its hard end."""

    column: str
    end: HardEnd


@dataclass(frozen=True)
class Agreement:
    """How far K columns agree.

    Attributes:
        columns: K names.
        correlation: (K, K) rank correlations, NaN where undefined.
        drawn: how many rows were ranked, which were drawn at random; None for all.
    """

    columns: list[str]
    correlation: NDArray[np.float64]
    drawn: int | None


@dataclass(frozen=True)
class KeptSets:
    """What K columns would keep at one budget.

    Attributes:
        columns: K names; the first one is the selection itself.
        overlap: (K, K) share of what the first keeps that the second keeps too.
        left_out: columns that cannot fill the budget, and why.
    """

    columns: list[str]
    overlap: NDArray[np.float64]
    left_out: dict[str, str]


def score_columns(table: TableView) -> list[str]:
    """Number columns that are scores: those that the table describes, the one selected by, and the loss.

    Ids of classes and groups are none, even if the samples were selected by them.
    """
    by = table.meta.last_step("select").get("by")
    wanted = {*table.meta.scores, LOSS, by} - {*_IDS}
    return [item.name for item in table.schema if item.name in wanted and _is_number(item.type)]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def read_values(table: TableView, column: str) -> NDArray[np.floating[Any]]:
    """(N,) a number column, NaN where it is null or NaN; for looking at it, not for going by it.

    Of a model whose training diverged, say, losses are NaN.
    """
    kind = np.result_type(table.schema.field(column).type.to_pandas_dtype(), np.float32)
    result = np.empty(len(table), kind)
    for rows, (found, null) in table.map(lambda piece: to_numpy(piece[column]), [column]):
        result[rows] = np.where(null, np.nan, found)
    return result


def find_difficulty(table: TableView) -> Difficulty | None:
    """The column by which samples are called hard or easy; None where no column says which end is hard.

    That which was selected by, if its hard end is known; else `aum`, `el2n`, the first of the others, and
    the loss.
    """
    known = score_columns(table)
    by = table.meta.last_step("select").get("by")
    others = [name for name in known if name != LOSS]
    for name in [by, *_WELL_KNOWN, *others]:
        if name in known and (end := hard_end(table, name)):
            return Difficulty(name, end)
    return find_loss(table)


def find_loss(table: TableView) -> Difficulty | None:
    """The loss, of which the high end is hard whether the table says so or not; None without one."""
    return Difficulty(LOSS, hard_end(table, LOSS) or "high") if LOSS in score_columns(table) else None


def find_suspicion(table: TableView) -> Difficulty | None:
    """The column whose hard end suggests a wrong label: the margin over training, else the loss."""
    for name in score_columns(table):
        if table.meta.scores.get(name, {}).get("method", name) == "aum":
            return Difficulty(name, hard_end(table, name) or "low")
    return find_loss(table)


def correlate_columns(table: TableView) -> Agreement | None:
    """Rank correlations between all score columns; None if there are not two."""
    columns = score_columns(table)
    if len(columns) < 2:
        return None
    some: slice | NDArray[np.int64] = slice(None)
    drawn = None
    if len(table) > MOST_RANKED:
        # Not every so many-th row: classes may take turns in a table.
        drawn = MOST_RANKED
        some = np.sort(numpy_rng(0, "rank correlation").choice(len(table), drawn, replace=False))
    values = [read_values(table, name)[some] for name in columns]
    return Agreement(columns, rank_correlations(values), drawn)


def compare_kept(found: Selection) -> KeptSets | None:
    """What every other score column would keep, from the same quotas or budget, by its own `keep_first`.

    None if there is no other column, or the selection was not made by `select`.
    """
    table, step = found.table, found.table.meta.last_step("select")
    others = [name for name in score_columns(table) if name != step.get("by")]
    if not others or "by" not in step:
        return None
    plain = table.without("keep", "reason", "weight")
    columns, sets, left_out = ["this selection"], [found.keep], dict[str, str]()
    for name in others:
        request = SelectRequest(
            by=name,
            keep=parse_budget(step["keep"]) if step.get("keep") else None,
            pick="top" if name == RANDOM else None,
            everywhere=bool(step.get("global")),
            seed=int(step.get("seed", 0)),
        )
        try:
            kept = select(plain, request, Silent()).keep
        except DpruneError as error:
            left_out[name] = str(error).removeprefix(f"{table.source}: ")
            continue
        columns.append(name)
        sets.append(kept)
    return KeptSets(columns, overlaps(sets), left_out)
