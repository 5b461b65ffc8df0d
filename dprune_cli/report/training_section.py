"""How a training went, from the history of a run: one row an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.io.table_columns import read_numbers
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.histogram import compare_spread
from dprune_cli.report.blocks import Block, Figure, Section
from dprune_cli.report.figures import class_epochs, histogram, lines

History = Sequence[Mapping[str, Any]]

_MOST_LINES = 12
_VISITS = "visits"
# Columns of the history that hold a value a class, and what they are called.
_BY_CLASS = {
    "visited": ("Visits", "samples visited"),
    "loss": ("Summed loss", "sum of losses"),
    "error": ("Error", "error on validation"),
}


def training_section(
    history: History, table: TableView | None = None, names: Mapping[str, Sequence[str]] | None = None
) -> Section | None:
    """The section of a training; None without an epoch.

    Args:
        history: rows as `io.run_dir.write_history` takes them.
        table: the table of the run, for its visits; None without.
        names: by `class` and `group`, the names of each, for a sampler's budgets.
    """
    if not history:
        return None
    epochs = [int(row["epoch"]) for row in history]
    blocks: list[Block] = [
        _figure(
            "Loss", epochs, [("training loss", _column(history, "loss"))], "Mean loss of an epoch's visits."
        )
    ]
    validated = [
        (said, values)
        for said, name in (("accuracy", "val_accuracy"), ("worst class", "val_worst_class"))
        if not np.isnan(values := _column(history, name)).all()
    ]
    if validated:
        blocks.append(_figure("Validation", epochs, validated, "Recall on the validation data."))
    rates = _column(history, "lr")
    if not np.isnan(rates).all():
        blocks.append(_figure("Learning rate", epochs, [("learning rate", rates)], "At the end of an epoch."))
    visited = _column(history, "visited")
    if len(set(visited.tolist())) > 1:
        blocks.append(
            _figure("Visited samples", epochs, [("visited", visited)], "Samples that an epoch visited.")
        )
    for by in ("class", "group"):
        blocks += _budgets(history, epochs, by, (names or {}).get(by, ()))
    if table is not None and _VISITS in table:
        blocks += _visits(table)
    return Section(title="Training", blocks=blocks)


def _column(history: History, name: str) -> NDArray[np.float64]:
    """(E,) NaN where an epoch has no value."""
    values = [row.get(name) for row in history]
    return np.array([math.nan if value is None else float(value) for value in values])


def _figure(
    title: str, epochs: Sequence[int], series: Sequence[tuple[str, NDArray[np.float64]]], caption: str
) -> Figure:
    label = series[0][0] if len(series) == 1 else "recall"
    return Figure(title=title, svg=lines(epochs, series, ("epoch", label), bottom=0), caption=caption)


def _budgets(history: History, epochs: Sequence[int], by: str, names: Sequence[str]) -> list[Block]:
    """What a sampler visited of every class, and how these did, over the epochs."""
    blocks: list[Block] = []
    for column, (title, label) in _BY_CLASS.items():
        found = [row.get(f"{by}_{column}") for row in history]
        known = [values for values in found if values is not None]
        if not known or len({len(values) for values in known}) != 1:
            continue
        strata = len(known[0])
        values = np.array(
            [
                [math.nan if value is None else float(value) for value in (row or [None] * strata)]
                for row in found
            ]
        ).T
        # Without a sampler every epoch visits everything.
        if np.isnan(values).all() or (column == "visited" and (values == values[:, :1]).all()):
            continue
        blocks.append(_over_epochs(f"{title} by {by}", label, values, epochs, by, names))
    return blocks


def _over_epochs(
    title: str,
    label: str,
    values: NDArray[np.float64],
    epochs: Sequence[int],
    by: str,
    names: Sequence[str],
) -> Figure:
    called = [names[number] if number < len(names) else str(number) for number in range(len(values))]
    if len(values) <= _MOST_LINES:
        svg = lines(epochs, list(zip(called, values, strict=True)), ("epoch", label), bottom=0)
        return Figure(title=title, svg=svg, caption=f"A line for every {by}.")
    svg = class_epochs(values, epochs, label, f"{by} id")
    return Figure(title=title, svg=svg, caption=f"A row for every {by}, from the first id at the top.")


def _visits(table: TableView) -> list[Block]:
    visits = read_numbers(table, _VISITS)
    spread = compare_spread(visits, np.ones(len(visits), bool))
    if spread is None:
        return []
    never = int(np.count_nonzero(visits == 0))
    return [
        Figure(
            title="Visits of a sample",
            svg=histogram(spread.edges, {"samples": spread.everything}, "visits over all epochs"),
            caption=f"{never:,} of {len(visits):,} samples of the table were never visited.",
        )
    ]
