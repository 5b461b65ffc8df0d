"""The report of a selection; `prune` adds what it knows of its query model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DpruneError
from dprune_cli.io.table_columns import read_ok
from dprune_cli.io.table_meta import TableMeta
from dprune_cli.io.table_view import TableView
from dprune_cli.report.blocks import Report, Section
from dprune_cli.report.kept_section import Recalls, kept_section, known_recalls
from dprune_cli.report.pictures_section import pictures_section
from dprune_cli.report.provenance import provenance_section
from dprune_cli.report.score_section import score_section
from dprune_cli.report.training_section import History, training_section
from dprune_cli.report.wording import shortened
from dprune_cli.stages.picture_choice import kinds_of_selection
from dprune_cli.stages.select import Left, Selection, find_left

_LONGEST = 24


def select_report(
    found: Selection,
    *,
    data: Sequence[str] = (),
    recall: Mapping[str, Recalls] | None = None,
    history: History = (),
    commands: Sequence[tuple[str, str]] | None = None,
    title: str = "",
) -> Report:
    """What was kept, what it looks like, why it was kept, and how to do it again.

    Args:
        found: the selection.
        data: where the samples are, if not where they were scored.
        recall: by `class` and `group`, the recall of each on validation, in [0, 1] or None; where it
            is missing, what the quotas went by.
        history: rows of the training of the query model; empty where it is not known.
        commands: that made it, each with what to say of it; None for those that its steps tell of.
        title: of the report; by default the data that was selected from.
    """
    table = found.table
    lefts = [left for left in (found.classes, _groups(found)) if left is not None]
    known = recall or {}
    recalls = {left.by: known.get(left.by, quota_recall(table, left.by)) for left in lefts}
    worst = {left.by: _worst(left, recalls[left.by]) for left in lefts}
    sections: list[Section | None] = [
        *(kept_section(left, recalls[left.by]) for left in lefts),
        pictures_section(table, kinds_of_selection(found), data, worst),
        score_section(found),
        training_section(history, None, {"class": table.meta.classes, "group": table.meta.groups}),
        provenance_section(table.meta, commands),
    ]
    return Report(
        title=title or f"What was kept of {name_data(table)}",
        figures=_figures(found, recalls["class"]),
        sections=[section for section in sections if section is not None],
    )


def name_data(table: TableView) -> str:
    """The data of a table as it was typed."""
    root = table.meta.root
    return root if isinstance(root, str) else " ".join(root) if root else table.source


def quota_recall(table: TableView, by: str) -> Recalls | None:
    """The recalls that the quotas of a table went by; None where they are not known."""
    step = table.meta.last_step("quota")
    found = step.get("recall") if step.get("by", "class") == by else None
    known = isinstance(found, list) and all(one is None or isinstance(one, int | float) for one in found)
    return found if known else None


def _groups(found: Selection) -> Left | None:
    """What is left of every group, whether the quotas were those of groups or not."""
    if found.groups is not None or "group" not in found.table:
        return found.groups
    try:
        return find_left(found.table, "group", found.keep, read_ok(found.table))
    except DpruneError:
        return None  # usable samples without a group


def _worst(left: Left, recall: Recalls | None) -> NDArray[np.float64]:
    """(S,) the smaller the worse: the recall, else the density."""
    known = known_recalls(recall, len(left.names))
    return left.coverage.density if known is None else known


def _figures(found: Selection, recall: Recalls | None) -> dict[str, str]:
    coverage, names = found.classes.coverage, found.classes.names
    kept, available = int(coverage.kept.sum()), int(coverage.available.sum())
    meta = found.table.meta
    figures = {
        "kept": f"{kept:,} of {available:,}",
        "kept fraction": f"{100 * kept / max(available, 1):.1f} %",
        "selected by": _selected_by(meta),
        "classes": f"{np.count_nonzero(coverage.available):,}",
    }
    if coverage.empty:
        figures["empty classes"] = f"{len(coverage.empty):,}"
    elif coverage.smallest is not None:
        figures["smallest class"] = f"{coverage.kept[coverage.smallest]:,} {_short(names[coverage.smallest])}"
    known = known_recalls(recall, len(names))
    if known is not None:
        worst = int(np.nanargmin(known))
        figures["worst recall"] = f"{100 * known[worst]:.1f} % {_short(names[worst])}"
    return figures


def _selected_by(meta: TableMeta) -> str:
    """The method of a pruning, which selects too, or how the last selection picked."""
    if meta.steps and meta.steps[-1].get("command") == "prune":
        return str(meta.last_step("prune").get("method"))
    step = meta.last_step("select")
    return " ".join(dict.fromkeys(str(step[name]) for name in ("pick", "by") if name in step))


def _short(name: str) -> str:
    return shortened(name, _LONGEST)
