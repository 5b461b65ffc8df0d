"""A picture of samples in the plane: a colour a class, a marker for what is kept and one for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.errors import UsageError
from dprune_cli.io.outputs import check_output, whole_file
from dprune_cli.io.remote import Place
from dprune_cli.report.plotting import own_settings
from dprune_cli.report.wording import shortened, visible
from dprune_cli.stages.tsne import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

Colour = tuple[float, float, float, float]

_FORMATS = {".png": "png", ".svg": "svg"}
# Whose colours are told apart, and how many there are before they come again.
_FEW, _COLOURS = 10, 20
_NAME = 24
_INCHES, _DOTS = 9.0, 150
# What names and counts take of the width and the height of a picture, in inches.
_BESIDE, _BELOW = 1.3, 0.6
# The height of the points as a part of their width is that of the data, within these limits.
_LOWEST, _HIGHEST = 0.5, 1.1
# Filled for what is kept, a faint cross for what is not: to be told apart without colours, and in print.
_KEPT: dict[str, Any] = {"marker": "o", "s": 18, "linewidths": 0, "zorder": 2}
_DROPPED: dict[str, Any] = {"marker": "x", "s": 8, "linewidths": 0.6, "alpha": 0.45, "zorder": 1}


def check_picture(path: str | Place, *, force: bool) -> None:
    """Refuse a picture that could not be written, before any work is done for it.

    Raises:
        UsageError: its name ends in something else than .png or .svg, it exists already, or matplotlib is
            not installed.
        DpruneError: nothing can be written there.
    """
    _format(path)
    if find_spec("matplotlib") is None:
        raise UsageError("--tsne needs matplotlib; pip install matplotlib")
    check_output(path, force=force)


def _format(path: str | Place) -> str:
    suffix = PurePosixPath(str(path)).suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(f"--tsne {path}: write a name that ends in .png or .svg")
    return _FORMATS[suffix]


def write_picture(plane: Plane, path: str | Place, *, force: bool = False) -> None:
    """Write the picture, the same bytes for the same plane; of several processes the first does it.

    Raises:
        UsageError: something is there, and `force` is not given.
        DpruneError: it cannot be written.
    """
    if not ranks.is_main():
        return
    kind = _format(path)
    # What would say which version and when it was made, and an SVG's own random names.
    silent = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with (
        whole_file(path, force=force) as part,
        open(part, "wb") as file,
        own_settings({"svg.hashsalt": "dprune"}),
    ):
        draw(plane).savefig(file, format=kind, dpi=_DOTS, metadata=silent)


def draw(plane: Plane) -> Figure:
    """The picture, without a legend of classes if they are too many for a colour each."""
    from matplotlib.figure import Figure

    figure = Figure(size_of(plane, _INCHES), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"t-SNE of {say_share(plane)}", fontsize=11)
    paint_plane(axes, plane)
    return figure


def size_of(plane: Plane, width: float) -> tuple[float, float]:
    """The size of a picture in inches, as high as the points need, which have one scale both ways."""
    across, up = np.ptp(plane.place, axis=0).tolist()
    share = up / across if across > 0 else 1.0
    return width, (width - _BESIDE) * min(max(share, _LOWEST), _HIGHEST) + _BELOW


def paint_plane(axes: Axes, plane: Plane, *, dots: bool = False) -> None:
    """Paint the points into the axes of a figure, and the meaning of colours and markers beside them.

    Args:
        axes: empty.
        plane: the points.
        dots: whether an SVG gets a picture of the points, which is smaller if they are many.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise RuntimeError("axes without a figure")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.5)
    axes.set_aspect("equal", adjustable="datalim")
    present = np.unique(plane.label)
    colours = np.asarray(_colours(present))[np.searchsorted(present, plane.label)]
    kept = np.ones(len(plane.label), bool) if plane.kept is None else plane.kept
    # In a smaller picture markers are smaller, but not so much that their shapes are lost.
    scale = math.sqrt(figure.bbox.width / figure.dpi / _INCHES)
    for rows, style in ((~kept, _DROPPED), (kept, _KEPT)):
        across, up = plane.place[rows].T
        size = {"s": style["s"] * scale, "linewidths": style["linewidths"] * scale}
        axes.scatter(across, up, c=colours[rows], rasterized=dots, **style | size)
    if len(present) <= _COLOURS:
        _add_classes(figure, [plane.classes[number] for number in present], _colours(present))
    if plane.kept is not None:
        counts = {"kept": int(kept.sum()), "dropped": int((~kept).sum())}
        _add_markers(figure, [f"{count:,} {name}" for name, count in counts.items()])


def say_share(plane: Plane) -> str:
    """How many samples are drawn, and of how many."""
    drawn = len(plane.label)
    some = f"{drawn:,} of " if drawn < plane.samples else ""
    return f"{some}{plane.samples:,} samples"


def _colours(present: NDArray[np.int64]) -> list[Colour]:
    """A colour for each of the classes, in a cycle if they are many."""
    from matplotlib import colormaps

    size = _FEW if len(present) <= _FEW else _COLOURS
    palette = colormaps[f"tab{size}"]
    return [palette(number % size) for number in range(len(present))]


def _add_classes(figure: FigureBase, names: Sequence[str], colours: Sequence[Colour]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=colour) for colour in colours]
    # Names are set afterwards: a label that begins with _ would be left out.
    legend = figure.legend(patches, map(str, range(len(names))), loc="outside right upper", frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(shortened(visible(name), _NAME))


def _add_markers(figure: FigureBase, labels: Sequence[str]) -> None:
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    ink = rcParams["text.color"]
    lines = [Line2D([], [], linestyle="", color=ink, marker=style["marker"]) for style in (_KEPT, _DROPPED)]
    for line, style in zip(lines, (_KEPT, _DROPPED), strict=True):
        line.set(markersize=style["s"] ** 0.5, alpha=style.get("alpha"))
    figure.legend(lines, labels, loc="outside lower center", ncols=2, frameon=False)
