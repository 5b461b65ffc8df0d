"""How classes lie in the embedding of a run: what was measured, and a picture of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dprune_cli.metrics.geometry import Geometry
from dprune_cli.report.blocks import Block, Column, Facts, Figure, Grid, Section, Value
from dprune_cli.report.figures import draw
from dprune_cli.report.tsne_plot import paint_plane, say_share, size_of
from dprune_cli.stages.evaluate import Evaluation
from dprune_cli.stages.geometry import Embedded
from dprune_cli.stages.tsne import Plane

# Of the plot on the page, in inches: a phone makes it narrower, and its names must stay readable.
_WIDTH = 4.2

_MEASURES: tuple[tuple[str, Callable[[Geometry], float | int | None], str], ...] = (
    ("samples", lambda one: one.samples, "how many were measured"),
    ("classes", lambda one: one.classes, "how many of them have samples"),
    (
        "Dunn index",
        lambda one: one.dunn_index,
        "the smallest distance between two classes, as a part of the largest within one: high is well apart",
    ),
    (
        "adjacent centres",
        lambda one: one.mean_adjacent_centre_distance,
        "from the middle of a class to the nearest other middle, on average: low is easily confused",
    ),
    (
        "single linkage",
        lambda one: one.mean_single_linkage,
        "from a class to the nearest sample of another, on average: high is a clear border",
    ),
    (
        "radius",
        lambda one: one.mean_radius,
        "from a sample to the middle of its class, on average: low is a narrow class",
    ),
)


def geometry_section(found: Sequence[Evaluation]) -> Section | None:
    """The section of embeddings; None where nothing was asked about them.

    Args:
        found: a run each.
    """
    blocks: list[Block] = []
    pictures: list[Block] = []
    for one in found:
        if one.embedded is not None:
            blocks += _measures(one.embedded, f" of {one.run}" if len(found) > 1 else "")
            pictures += _picture(one.embedded.plane)
    if blocks:
        said = {name: meaning for name, _, meaning in _MEASURES}
        blocks.append(Facts(title="What the measures say", values=said))
    return Section(title="Geometry", blocks=[*blocks, *pictures]) if blocks or pictures else None


def _measures(embedded: Embedded, of: str) -> list[Block]:
    sets = embedded.sets
    if not sets:
        return []
    rows: list[list[Value]] = [[name, *(read(one) for one in sets.values())] for name, read, _ in _MEASURES]
    compared = (
        "A set that is pruned well keeps its classes as far apart as they were. " if len(sets) > 1 else ""
    )
    return [
        Grid(
            title=f"How classes lie in the embedding{of}",
            columns=[Column(name="measure"), *(Column(name=name, kind="number") for name in sets)],
            rows=rows,
            caption=f"{compared}Distances compare sets in one embedding, not embeddings of two models.",
        )
    ]


def _picture(plane: Plane | None) -> list[Block]:
    if plane is None:
        return []
    _, height = size_of(plane, _WIDTH)
    return [
        Figure(
            title="t-SNE of the embedding",
            svg=draw(lambda axes: paint_plane(axes, plane, dots=True), _WIDTH, height),
            caption=f"{say_share(plane)}; those that lie together are alike to the model. How far "
            "groups are apart, and how large they look, means little.",
        )
    ]
