"""Plots as SVG elements that stand inside a page: its fonts, its colour of text, light or dark.

Only the object interface of matplotlib is used, and its settings hold for one plot at a time. Names of
classes are data: they are never read as formulas, and what cannot be printed is replaced.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dprune_cli.report.labels import place_labels, text_width
from dprune_cli.report.plotting import own_settings
from dprune_cli.report.wording import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A colour that no plot uses: in the page it becomes the colour of its text.
_INK = "#010203"
# They differ for readers who see red and green alike, and stand out from white and from nearly black.
ALL, CHOSEN, MARK = "#8c96a3", "#1f83d0", "#e0691a"
LINES = (CHOSEN, MARK, "#12a17c", "#b866a8", "#a48a00", "#6f7bd6", "#d14d5b", "#4aa3a3")
_DASHES = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT = 3.9, 2.6
_LONGEST = 22
_SMALL = 8
# Of a plot's parts that are pictures, an inch.
_DOTS = 150
# How much larger than it was drawn a plot may be where there is room.
_ENLARGED = 1.25

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dprune",
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "axes.grid": False,
    "font.size": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}

_PREAMBLE = re.compile(r"^.*?(?=<svg )|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_SIZE = re.compile(r'<svg [^>]*?viewBox="(0 0 ([\d.]+) [\d.]+)"[^>]*>')
_TAG = re.compile("<[^>]*>")
_FONT = re.compile(r"font-family: [^;\"]*")
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(|href=")#([^)"]+)')


def draw(paint: Callable[[Axes], None], width: float = _WIDTH, height: float = _HEIGHT) -> str:
    """What `paint` draws, as an `<svg>` element that needs nothing from elsewhere.

    Args:
        paint: fills the axes.
        width: of the plot in inches; the page makes it narrower where there is less room.
        height: the same.
    """
    from matplotlib.figure import Figure

    sink = io.StringIO()
    with own_settings(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure.add_subplot())
        figure.savefig(sink, format="svg", transparent=True, dpi=_DOTS)
    return _inline(sink.getvalue())


def _inline(svg: str) -> str:
    """An SVG file as an element of a page."""
    svg = _PREAMBLE.sub("", svg)
    svg = _SIZE.sub(
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        r'viewBox="\1" width="100%" fill="currentColor" '
        rf'style="max-width: calc({_ENLARGED} * \2pt); height: auto; '
        r'stroke-linejoin: round; stroke-linecap: butt">',
        svg,
    )
    # Only tags: what stands between them are names from data.
    svg = _TAG.sub(
        lambda tag: _FONT.sub("font-family: inherit", tag[0]).replace(_INK, "currentColor"),
        svg,
    )
    # Plots of one page must not share identifiers; those that nothing refers to are left out.
    own = hashlib.sha256(svg.encode()).hexdigest()[:10]
    references = [name for tag in _TAG.findall(svg) for name in _REFERENCE.findall(tag)]
    used = {name: f"f{own}-{number}" for number, name in enumerate(dict.fromkeys(references))}
    return _TAG.sub(lambda tag: _rename(tag[0], used), svg).strip()


def _rename(tag: str, used: Mapping[str, str]) -> str:
    """A tag with the identifiers of a page."""
    tag = _ID.sub(lambda found: f' id="{used[found[1]]}"' if found[1] in used else "", tag)
    return _REFERENCE.sub(lambda found: found[0].replace(f"#{found[1]}", f"#{used[found[1]]}"), tag)


def readable(name: str) -> str:
    r"""A name from data as a plot can have it: short, on one line, without what cannot be printed.

    >>> readable("a\nb"), readable("abcdefghijklmnopqrstuvwxyz")
    ('a\ufffdb', 'abcdefghijk…qrstuvwxyz')
    """
    return shortened("".join(sign if sign.isprintable() else "\ufffd" for sign in name), _LONGEST)


def scatter(across: ArrayLike, up: ArrayLike, labels: tuple[str, str], names: Sequence[str] = ()) -> str:
    """Points, with their names if there are any.

    Args:
        across: (N,) first coordinates; a point without one of the two is not drawn.
        up: (N,) second coordinates.
        labels: of the two axes.
        names: (N,) of the points; empty for none.
    """
    first, second = np.asarray(across, np.float64), np.asarray(up, np.float64)

    def paint(axes: Axes) -> None:
        axes.scatter(first, second, s=22, color=CHOSEN, alpha=0.75, linewidths=0)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.margins(0.12)
        known = np.flatnonzero(np.isfinite(first) & np.isfinite(second)).tolist() if names else []
        if known:
            _name_points(axes, np.stack([first[known], second[known]], 1), [names[one] for one in known])

    return draw(paint, height=3.1)


def _name_points(axes: Axes, points: NDArray[np.float64], names: Sequence[str]) -> None:
    """Write the names of (N, 2) points beside them, as far as there is room."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise RuntimeError("axes without a figure")
    # Only a plot that is laid out knows where its points are.
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    places = axes.transData.transform(points) * scale
    texts = [readable(name) for name in names]
    widths = [text_width(text, _SMALL) for text in texts]
    # Not over the axes and what is written beside them.
    edges = (axes.bbox.x0, axes.bbox.y0, figure.bbox.x1, figure.bbox.y1)
    left, bottom, right, top = (float(edge) * scale for edge in edges)
    middles = place_labels(places, widths, _SMALL * 1.15, (left, bottom, right, top))
    for text, point, place, middle in zip(texts, points, places, middles, strict=True):
        if middle is not None:
            note = axes.annotate(
                text,
                (point[0], point[1]),
                (middle[0] - place[0], middle[1] - place[1]),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=_SMALL,
            )
            note.set_in_layout(False)


def histogram(
    edges: NDArray[np.float64],
    counts: Mapping[str, NDArray[np.int64]],
    label: str,
    marks: Sequence[float] = (),
    hard: str | None = None,
) -> str:
    """Counts over bins, every series in front of the one before.

    Args:
        edges: (B + 1,) of the bins.
        counts: by name of the series, (B,) each; one or two of them.
        label: of the values.
        marks: cuts: one or two are lines, of more the range is shaded.
        hard: `high` or `low`, the end of the axis that is said to be hard.
    """

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        colours = (ALL, CHOSEN) if len(counts) > 1 else (CHOSEN,)
        for (name, values), colour in zip(counts.items(), colours, strict=True):
            axes.stairs(values, edges, fill=True, color=colour, alpha=0.85, label=readable(name))
        if len(marks) > 2:
            axes.axvspan(min(marks), max(marks), color=MARK, alpha=0.25, linewidth=0, label="cuts")
        for number, mark in enumerate(marks if len(marks) <= 2 else ()):
            axes.axvline(mark, color=MARK, linestyle="--", label="cut" if number == 0 else None)
        said = readable(label)
        ends = {"high": f"{said} (hard \N{RIGHTWARDS ARROW})", "low": f"(\N{LEFTWARDS ARROW} hard) {said}"}
        axes.set_xlabel(ends.get(hard or "", said))
        axes.set_ylabel("samples")
        if (edges % 1 == 0.5).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if len(counts) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1)

    return draw(paint)


def lines(
    across: ArrayLike,
    series: Sequence[tuple[str, ArrayLike]],
    labels: tuple[str, str],
    bottom: float | None = None,
) -> str:
    """Lines over the same points.

    Args:
        across: (N,) such as epochs.
        series: names and (N,) values of each; NaN makes a gap.
        labels: of the two axes.
        bottom: where the upright axis begins; None to fit the values.
    """
    points = np.asarray(across, np.float64)

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for number, (name, values) in enumerate(series):
            axes.plot(
                points,
                np.asarray(values, np.float64),
                color=LINES[number % len(LINES)],
                linestyle=_DASHES[number // len(LINES) % len(_DASHES)],
                marker="o" if len(points) < 15 else None,
                markersize=3,
                label=readable(name),
            )
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        # As many as there is room for: a legend beside the plot takes some.
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        if bottom is not None:
            top = axes.get_ylim()[1]
            axes.set_ylim(bottom, top + (top - bottom) / 20 if top > bottom else bottom + 1)
        if len(series) > 1:
            beside = (
                {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(series) > 4 else {"loc": "best"}
            )
            axes.legend(**beside)

    return draw(paint)


def heat_map(
    values: NDArray[np.float64], names: Sequence[str], limits: tuple[float, float], *, diverging: bool
) -> str:
    """A square of coloured cells with their values.

    Args:
        values: (K, K) NaN for cells that are left out.
        names: K of rows and columns.
        limits: values of the two ends of the colours.
        diverging: whether the middle of the limits is neutral.
    """
    written = [readable(name) for name in names]
    many = len(names) > 12

    def paint(axes: Axes) -> None:
        from matplotlib import colormaps

        axes.pcolormesh(
            np.ma.masked_invalid(values),
            cmap=colormaps["RdBu_r" if diverging else "cividis"],
            vmin=limits[0],
            vmax=limits[1],
            edgecolors="none",
        )
        places = np.arange(len(names)) + 0.5
        axes.set_xticks(places, written, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, written)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for row, column in np.ndindex(values.shape) if not many else ():
            if np.isfinite(value := values[row, column]):
                share = (value - limits[0]) / (limits[1] - limits[0])
                dark = abs(share - 0.5) > 0.32 if diverging else share < 0.5
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{np.round(value, 2) + 0.0:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="#ffffff" if dark else "#111111",
                )

    side = min(8.0, 1.9 + 0.42 * len(names))
    return draw(paint, max(side, 3.2), max(side - 0.5, 2.6))


def class_epochs(
    values: NDArray[np.float64], epochs: Sequence[int], label: str, rows: str = "class id"
) -> str:
    """Classes over epochs as a picture, for more classes than lines can tell apart.

    Args:
        values: (C, E) NaN where there is none.
        epochs: E numbers.
        label: what the colours mean.
        rows: what the numbers of the rows are.
    """

    def paint(axes: Axes) -> None:
        from matplotlib import colormaps
        from matplotlib.ticker import MaxNLocator

        image = axes.imshow(
            np.ma.masked_invalid(values),
            aspect="auto",
            interpolation="nearest",
            cmap=colormaps["cividis"],
            extent=(min(epochs) - 0.5, max(epochs) + 0.5, len(values) - 0.5, -0.5),
        )
        axes.set_xlabel("epoch")
        axes.set_ylabel(rows)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        bar = axes.figure.colorbar(image, ax=axes, label=label)
        bar.outline.set_visible(False)

    return draw(paint, height=3.3)
