"""Where names beside the points of a plot find room."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# Left, bottom, right and top.
Box = tuple[float, float, float, float]

# Of a letter of the page's font and of a wide one, in heights of the font: what browsers have, roughly.
_NARROW, _WIDE = 0.56, 1.05
# Half the side of the square that a point takes, and how far names are from its middle.
_POINT, _GAP = 3.0, 4.5


def text_width(text: str, size: float) -> float:
    """About how wide a text is, in points, in letters of `size` points."""
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return size * (_WIDE * wide + _NARROW * (len(text) - wide))


def place_labels(
    points: NDArray[np.float64], widths: Sequence[float], height: float, room: Box
) -> list[tuple[float, float] | None]:
    """The middles of labels that cover neither each other nor a point, near the points they name.

    Every label is tried around its point, above it first. The leftmost point comes first.

    Args:
        points: (N, 2) in points of a drawing, from its lower left corner.
        widths: N of the labels.
        height: of every label.
        room: what no label leaves.

    Returns:
        N middles, None for a label that finds no room.

    >>> place_labels(np.array([[50.0, 50.0], [52.0, 50.0]]), [30, 30], 8, (0, 0, 100, 100))
    [(50.0, 58.5), (52.0, 41.5)]
    """
    taken = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points.tolist()]
    found: list[tuple[float, float] | None] = [None] * len(points)
    for number in np.lexsort((points[:, 1], points[:, 0])).tolist():
        across, up = points[number].tolist()
        half = widths[number] / 2
        for x, y in _around(across, up, half, height / 2):
            box = (x - half, y - height / 2, x + half, y + height / 2)
            inside = box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                found[number] = (x, y)
                break
    return found


def _around(across: float, up: float, half: float, rise: float) -> Iterator[tuple[float, float]]:
    """Middles of a label around a point: above and below, to the sides, then aslant."""
    high, wide = rise + _GAP, half + _GAP
    for x, y in (
        *((0, high), (0, -high), (wide, 0), (-wide, 0)),
        *((x, y) for x in (wide / 2, -wide / 2, wide, -wide) for y in (high, -high)),
    ):
        yield across + x, up + y


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
