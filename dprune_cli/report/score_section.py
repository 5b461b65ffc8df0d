"""The score columns: how they are spread, where the cut is, and how far they agree."""

from __future__ import annotations

from dprune_cli.metrics.histogram import compare_spread
from dprune_cli.report.blocks import Block, Column, Figure, Grid, Section
from dprune_cli.report.figures import heat_map, histogram
from dprune_cli.stages.score_columns import (
    Agreement,
    KeptSets,
    compare_kept,
    correlate_columns,
    read_values,
    score_columns,
)
from dprune_cli.stages.select import Selection
from dprune_cli.stages.select_cutoff import hard_end
from dprune_cli.stages.selection_cuts import Cuts, find_cuts

# More plots than these nobody compares; the columns that come first are drawn.
_MOST_HISTOGRAMS = 24


def score_section(found: Selection) -> Section | None:
    """The section of scores; None for a table without any."""
    columns = score_columns(found.table)
    if not columns:
        return None
    blocks: list[Block] = []
    cuts = find_cuts(found)
    for name in columns[:_MOST_HISTOGRAMS]:
        own = cuts if cuts is not None and cuts.column == name else None
        blocks += [figure] if (figure := _histogram(found, name, own)) else []
    agreement, kept = correlate_columns(found.table), compare_kept(found)
    blocks += [] if agreement is None else [_correlations(agreement)]
    blocks += [] if kept is None else _overlaps(kept)
    return Section(title="Scores", blocks=blocks) if blocks else None


def _histogram(found: Selection, name: str, cuts: Cuts | None) -> Figure | None:
    spread = compare_spread(read_values(found.table, name), found.keep)
    if spread is None:
        return None
    hard = hard_end(found.table, name)
    marks = [] if cuts is None else cuts.values.tolist()
    said = [] if hard is None else [f"The {hard} end is the hard one."]
    said += [] if cuts is None else [_say_cut(cuts)]
    said += [f"{spread.unknown:,} samples have no value."] if spread.unknown else []
    return Figure(
        title=f"Spread of {name}",
        svg=histogram(spread.edges, {"all": spread.everything, "kept": spread.chosen}, name, marks, hard),
        caption=" ".join(said),
    )


def _say_cut(cuts: Cuts) -> str:
    values = cuts.values.tolist()
    if not values:
        return "There is no cut: whatever could be kept was."
    if cuts.by == "data set":
        return f"The cut is at {' and '.join(f'{value:.4g}' for value in values)}."
    return f"Every {cuts.by} has a cut of its own, from {values[0]:.4g} to {values[-1]:.4g}."


def _correlations(agreement: Agreement) -> Figure:
    drawn = (
        "" if agreement.drawn is None else f" {agreement.drawn:,} samples were looked at, drawn at random."
    )
    return Figure(
        title="Rank correlation of the scores",
        svg=heat_map(agreement.correlation, agreement.columns, (-1, 1), diverging=True),
        caption="Spearman's coefficient over samples that have both values: 1 is the same order, -1 the "
        "opposite one. A score whose low end is hard goes against one whose high end is."
        f"{drawn}",
    )


def _overlaps(kept: KeptSets) -> list[Block]:
    blocks: list[Block] = []
    if len(kept.columns) > 1:
        blocks.append(
            Figure(
                title="Overlap of what the scores would keep",
                svg=heat_map(kept.overlap, kept.columns, (0, 1), diverging=False),
                caption="Of the samples that the row keeps, the share that the column keeps too. A score "
                "keeps as many samples as this selection, of every class or group as many where there are "
                "quotas, from the end that it keeps first. For comparison: two choices at random share "
                "the kept fraction, or somewhat more where quotas differ.",
            )
        )
    if kept.left_out:
        blocks.append(
            Grid(
                title="Scores that cannot fill this budget",
                columns=[Column(name="score"), Column(name="why")],
                rows=[[name, why] for name, why in kept.left_out.items()],
            )
        )
    return blocks
