"""The report of one or several trained models on one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dprune_cli.io.table import ScoreTable
from dprune_cli.metrics.confusion import most_confused
from dprune_cli.metrics.coverage import count_strata
from dprune_cli.metrics.histogram import compare_spread
from dprune_cli.report.blocks import Block, Column, Figure, Grid, Report, Section, Value
from dprune_cli.report.commands import rebuild
from dprune_cli.report.figures import histogram
from dprune_cli.report.geometry_section import geometry_section
from dprune_cli.report.kept_section import MOST_ROWS, known
from dprune_cli.report.pictures_section import pictures_section
from dprune_cli.report.provenance import provenance_section, run_commands
from dprune_cli.report.select_report import name_data
from dprune_cli.report.wording import shortened
from dprune_cli.stages.evaluate import Evaluation, over_seeds
from dprune_cli.stages.picture_choice import kinds_of_predictions
from dprune_cli.stages.score_columns import read_values

_CONFUSED = 50
_FIGURES = {
    "accuracy": "accuracy",
    "worst_class": "worst class",
    "gap": "gap",
    "std": "standard deviation",
    "worst_group": "worst group",
}


def evaluate_report(found: Sequence[Evaluation]) -> Report:
    """How good and how fair the runs are; of several runs the first one is shown in detail.

    Args:
        found: a run each, all on the same data.
    """
    first = found[0]
    ok = first.table.ok()
    right = ok & (first.table.integers("label") == first.table.integers("pred"))
    of = f" of {first.run}" if len(found) > 1 else ""
    worst = {"class": first.summary.recall}
    if first.groups is not None:
        worst["group"] = first.groups
    embedding = geometry_section(found)
    sections = [
        *([_runs(found)] if len(found) > 1 else []),
        Section(title=f"Recall{of}", blocks=_recalls(first, ok)),
        Section(title=f"Mistakes{of}", blocks=_mistakes(first, ok, right)),
        *([] if embedding is None else [embedding]),
        pictures_section(first.table, kinds_of_predictions(first.table, right), worst=worst),
        provenance_section(first.table.meta, [*run_commands(first.run), *rebuild(first.table.meta)]),
    ]
    runs = first.run if len(found) == 1 else f"{len(found)} runs"
    return Report(title=f"{runs} on {name_data(first.table)}", figures=_summary(found), sections=sections)


def _summary(found: Sequence[Evaluation]) -> dict[str, str]:
    first = found[0]
    names = first.table.stratum_names("class")
    figures = {"samples": f"{int(first.table.ok().sum()):,}"}
    if len(found) > 1:
        spread = over_seeds(found)
        return figures | {
            f"mean {said}": f"{100 * spread[name]['mean']:.1f} %"
            for name, said in _FIGURES.items()
            if name in spread
        }
    values = first.as_json()
    figures |= {said: f"{100 * values[name]:.1f} %" for name, said in _FIGURES.items() if name in values}
    return figures | {"hardest class": shortened(names[first.summary.worst_id], 24)}


def _runs(found: Sequence[Evaluation]) -> Section:
    """Every run, and the spread over all of them."""
    spread = over_seeds(found)
    shown = [name for name in _FIGURES if name in spread]
    columns = [Column(name=_FIGURES[name], kind="fraction", bar=True) for name in shown]
    rows = [[one.run, *(one.as_json()[name] for name in shown)] for one in found]
    over = [[kind, *(spread[name][kind] for name in shown)] for kind in ("mean", "min", "max")]
    blocks = [
        Grid(title="Runs", columns=[Column(name="run"), *columns], rows=rows),
        Grid(title=f"Over {len(found)} runs", columns=[Column(name="figure"), *columns], rows=over),
    ]
    return Section(title="Runs", blocks=blocks)


def _recalls(one: Evaluation, ok: NDArray[np.bool_]) -> list[Block]:
    names = one.table.stratum_names("class")
    blocks: list[Block] = [_recall_grid("class", names, one.summary.recall, one.table.integers("label"), ok)]
    if one.groups is not None:
        groups = one.table.stratum_names("group")
        blocks.append(_recall_grid("group", groups, one.groups, one.table.integers("group"), ok))
    return blocks


def _recall_grid(
    by: str, names: Sequence[str], recall: NDArray[np.float64], ids: NDArray[np.int64], ok: NDArray[np.bool_]
) -> Grid:
    counts = count_strata(ids, len(names), ok & (ids >= 0))
    order = np.argsort(np.nan_to_num(recall, nan=2.0), kind="stable")[:MOST_ROWS]
    known_here = np.flatnonzero(~np.isnan(recall[order]))
    said = "The lowest first."
    if len(order) < len(recall):
        said = f"The {MOST_ROWS:,} lowest of {len(recall):,}."
    return Grid(
        title=f"{'Recall' if by == 'class' else 'Accuracy'} of every {by}",
        columns=[
            Column(name=by),
            Column(name="samples", kind="count", bar=True),
            Column(name="recall" if by == "class" else "accuracy", kind="fraction", bar=True),
        ],
        rows=[[names[number], int(counts[number]), known(recall[number])] for number in order.tolist()],
        caption=said,
        marked=frozenset(known_here[:1].tolist()),
    )


def _mistakes(one: Evaluation, ok: NDArray[np.bool_], right: NDArray[np.bool_]) -> list[Block]:
    table = one.table
    names = table.stratum_names("class")
    pairs = most_confused(table.integers("label")[ok], table.integers("pred")[ok], _CONFUSED)
    rows: list[list[Value]] = [
        [
            f"{names[pair.label]} as {names[pair.pred]}",
            names[pair.label],
            names[pair.pred],
            pair.samples,
            pair.share,
        ]
        for pair in pairs
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(
            Grid(
                title="Most confused classes",
                columns=[
                    Column(name="pair"),
                    Column(name="label"),
                    Column(name="predicted"),
                    Column(name="samples", kind="count", bar=True),
                    Column(name="share of the class", kind="fraction", bar=True),
                ],
                rows=rows,
                caption="How often samples of one class were taken for another.",
            )
        )
    return blocks + _losses(table, right)


def _losses(table: ScoreTable, right: NDArray[np.bool_]) -> list[Block]:
    spread = compare_spread(read_values(table, "loss"), right)
    if spread is None:
        return []
    counts: Mapping[str, NDArray[np.int64]] = {"all": spread.everything, "right": spread.chosen}
    return [
        Figure(
            title="Spread of the loss",
            svg=histogram(spread.edges, counts, "loss", hard="high"),
            caption="Cross-entropy of every sample; a confident mistake has a high one.",
        )
    ]
