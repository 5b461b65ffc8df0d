"""What was kept of every class, or of every group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.metrics.coverage import correlate
from dprune_cli.report.blocks import Block, Column, Figure, Grid, Section, Value, Warnings
from dprune_cli.report.figures import scatter
from dprune_cli.stages.select import Left

# Fewer kept samples of a class than these, or less than this part of the common density, is nearly nothing.
FEW = 5
THIN = 0.1
# Where more than this part of many classes has so few, that is how the data are: marks would say nothing.
_USUAL = 0.2
_MANY = 20
# Rows of a grid beyond which a page would be larger than what it tells.
MOST_ROWS = 2000
_SMALLEST = 10
_NAMED_POINTS = 20
_NAMED_IN_TEXT = 8

Recalls = Sequence[float | None]


def kept_section(left: Left, recall: Recalls | None) -> Section:
    """The section of classes, or of groups.

    Args:
        left: what the selection leaves of each.
        recall: S recalls on validation, in [0, 1] or None; None where nothing is known of them.
    """
    known = known_recalls(recall, len(left.names))
    blocks: list[Block] = []
    scarce = find_scarce(left)
    if lines := _warnings(left, scarce):
        blocks.append(Warnings(lines=lines))
    blocks.append(_grid(left, known, scarce.marked))
    if known is not None and (figure := _density_figure(left, known)):
        blocks.append(figure)
    if np.count_nonzero(left.coverage.available) > 2 * _SMALLEST:
        blocks.append(_smallest(left, known))
    return Section(title=f"Kept by {left.by}", blocks=blocks)


def known_recalls(recall: Recalls | None, strata: int) -> NDArray[np.float64] | None:
    """(S,) recalls, NaN where one is not known; None where they are not those of S strata."""
    if recall is None or len(recall) != strata:
        return None
    found = np.array([math.nan if value is None else value for value in recall], np.float64)
    return None if np.isnan(found).all() else found


@dataclass(frozen=True)
class Scarce:
    """Strata of which nothing, or nearly nothing, is left, each in one of three lists of ids.

    What was kept whole is in none of them, however small it is: no selection can keep more of it.

    Attributes:
        empty: nothing is kept.
        few: fewer than `FEW` samples are kept.
        usual: whether that is so of many, and no exception.
        thin: less than `THIN` of the common density is kept.
        common: that density.
    """

    empty: list[int]
    few: list[int]
    usual: bool
    thin: list[int]
    common: float

    @property
    def marked(self) -> set[int]:
        """Those that stand out."""
        return {*self.empty, *self.thin, *(() if self.usual else self.few)}


def find_scarce(left: Left) -> Scarce:
    """The strata of which nothing, or nearly nothing, is left."""
    coverage = left.coverage
    common = coverage.kept.sum() / max(int(coverage.available.sum()), 1)
    cut = (coverage.kept > 0) & (coverage.kept < coverage.available)
    few = cut & (coverage.kept < FEW)
    present = np.count_nonzero(coverage.available)
    usual = bool(present > _MANY and np.count_nonzero(few) > _USUAL * present)
    thin = cut & (usual | ~few) & (np.nan_to_num(coverage.density) < THIN * common)
    return Scarce(
        empty=coverage.empty,
        few=np.flatnonzero(few & ~thin).tolist(),
        usual=usual,
        thin=np.flatnonzero(thin).tolist(),
        common=float(common),
    )


def _warnings(left: Left, scarce: Scarce) -> list[str]:
    tenth = f"less than a tenth of the common density ({100 * scarce.common:.1f} %) is kept of"
    found = (
        (scarce.empty, "nothing is kept of", ""),
        (scarce.few, f"fewer than {FEW} samples are kept of", ", too many to mark" if scarce.usual else ""),
        (scarce.thin, tenth, ""),
    )
    return [
        f"{what} {_some(left, ids)}{more}; quotas with --min-per-class would keep more"
        for ids, what, more in found
        if ids
    ]


def _some(left: Left, ids: list[int]) -> str:
    names = ", ".join(left.names[number] for number in ids[:_NAMED_IN_TEXT])
    more = f" and {len(ids) - _NAMED_IN_TEXT} more" if len(ids) > _NAMED_IN_TEXT else ""
    return f"{len(ids)} {left.by}{'es' if left.by == 'class' else 's'}: {names}{more}" if more else names


def _grid(left: Left, recall: NDArray[np.float64] | None, marked: set[int]) -> Grid:
    coverage = left.coverage
    worst = np.argsort(np.nan_to_num(coverage.density, nan=2.0), kind="stable")
    shown = np.sort(worst[:MOST_ROWS])
    caption = "A heading sorts by its column."
    if len(shown) < len(worst):
        caption = f"The {MOST_ROWS:,} of the lowest density, of {len(worst):,}. {caption}"
    return Grid(
        title=f"What was kept of every {left.by}",
        columns=_columns(left.by, recall),
        rows=_rows(left, recall, shown),
        caption=caption,
        marked=frozenset(place for place, number in enumerate(shown.tolist()) if number in marked),
    )


def _smallest(left: Left, recall: NDArray[np.float64] | None) -> Grid:
    coverage = left.coverage
    present = np.flatnonzero(coverage.available > 0)
    order = present[np.lexsort((present, coverage.density[present], coverage.kept[present]))][:_SMALLEST]
    return Grid(
        title=f"The smallest {'classes' if left.by == 'class' else 'groups'}",
        columns=_columns(left.by, recall),
        rows=_rows(left, recall, order),
        caption="Those with the fewest kept samples.",
    )


def _columns(by: str, recall: NDArray[np.float64] | None) -> list[Column]:
    # What is told first fits beside a long name on a phone.
    return [
        Column(name=by),
        Column(name="kept", kind="count", bar=True),
        Column(name="density", kind="fraction", bar=True),
        *([] if recall is None else [Column(name="recall", kind="fraction", bar=True)]),
        Column(name="available", kind="count", bar=True),
    ]


def _rows(left: Left, recall: NDArray[np.float64] | None, numbers: NDArray[np.int64]) -> list[list[Value]]:
    return [
        [
            left.names[number],
            int(left.coverage.kept[number]),
            known(left.coverage.density[number]),
            *([] if recall is None else [known(recall[number])]),
            int(left.coverage.available[number]),
        ]
        for number in numbers.tolist()
    ]


def known(value: float) -> float | None:
    """A number of a grid; None for NaN.

    >>> known(0.5), known(float("nan"))
    (0.5, None)
    """
    return None if math.isnan(value) else float(value)


def _density_figure(left: Left, recall: NDArray[np.float64]) -> Figure | None:
    density = left.coverage.density
    points = int(np.count_nonzero(np.isfinite(density) & np.isfinite(recall)))
    if points < 2:
        return None
    found = correlate(density, recall)
    how = "is not defined" if found is None else f"is {found:+.2f}"
    return Figure(
        title="Density against recall",
        svg=scatter(
            recall,
            density,
            ("recall on validation", "density (kept / available)"),
            left.names if points <= _NAMED_POINTS else (),
        ),
        caption=f"Their correlation {how}. A fair selection keeps more of what the model gets wrong, so "
        "that points fall from the left to the right.",
    )
