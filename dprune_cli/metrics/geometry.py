"""How classes lie in an embedding: how far apart they are, and how wide.

The four measures are those by which Yang et al., "Not All Data Matters: An End-to-End Adaptive Dataset
Pruning Framework for Enhancing Model Performance and Efficiency", https://arxiv.org/abs/2312.05599, compare a
pruned set with the whole one. dprune takes the names from there and nothing else: how the paper scales its
embeddings, and which distance its Dunn index, its linkage and its radius are made of, is not settled here.
So values compare sets in one embedding, and not with the figures that the paper prints.

Distances are Euclidean, in the embedding as the model gives it, without any scaling. Squared distances are
products of matrices in double precision, some thousand samples by some thousand, so that no N x N matrix is
ever held; the pairs that win are computed again from their difference. The smallest distance is thus right
to about 1e-7 of the largest, which is what float32 embeddings can tell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dprune_cli.core.progress import Advance, ignore

if TYPE_CHECKING:
    from torch import Tensor

# A block of products: few enough for 32 MB, many enough for the processor to be busy.
_ROWS, _COLUMNS = 1 << 10, 1 << 12


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Measures of a set of samples x with classes k, of which C have samples, with centres c_k (their means).

    A class of one sample counts: its radius and its diameter are 0. Classes without samples do not.

    Attributes:
        samples: N.
        classes: C.
        dunn_index: `smallest_linkage / largest_diameter`, Dunn's first index (1974). None for fewer than two
            classes, and where the diameter is 0, because no class has two different samples.
        mean_adjacent_centre_distance: mean over k of min_{l != k} |c_k - c_l|: from every centre to the
            nearest other one. None for fewer than two classes.
        mean_single_linkage: mean over k of min |x - y| over x of class k and y of any other class. None for
            fewer than two classes.
        mean_radius: mean over k of the mean distance of the samples of class k to c_k. None without samples.
        smallest_linkage: min |x - y| over all samples of two classes. None for fewer than two classes.
        largest_diameter: max |x - y| over all samples of one class. None without samples.
    """

    samples: int
    classes: int
    dunn_index: float | None = None
    mean_adjacent_centre_distance: float | None = None
    mean_single_linkage: float | None = None
    mean_radius: float | None = None
    smallest_linkage: float | None = None
    largest_diameter: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """The measures by name."""
        return dataclasses.asdict(self)


def measure(points: Tensor, label: Tensor, advance: Advance = ignore) -> Geometry:
    """The geometry of a set; takes time in proportion to N^2 D, and 8 N D bytes.

    Args:
        points: (N, D) finite embeddings, on any device.
        label: (N,) class ids, on the same device.
        advance: told how many samples were compared with all others, and N.

    >>> import torch
    >>> line = torch.tensor([[0.0], [1.0], [4.0], [6.0]])
    >>> found = measure(line, torch.tensor([3, 3, 5, 5]))
    >>> found.smallest_linkage, found.largest_diameter, found.dunn_index
    (3.0, 2.0, 1.5)
    >>> found.mean_adjacent_centre_distance, found.mean_single_linkage, found.mean_radius
    (4.5, 3.0, 0.75)
    """
    if len(points) == 0:
        return Geometry(samples=0, classes=0)
    order = label.argsort(stable=True)
    present = label.bincount() > 0
    ids = (present.cumsum(0) - 1)[label[order]]
    counts = ids.bincount()
    sorted_points = _centred(points, order)
    centres = _sum_by(ids, sorted_points, len(counts)) / counts[:, None]
    radii = _sum_by(ids, _distances_to_centre(sorted_points, centres, ids), len(counts)) / counts
    linkage, diameter = _extremes(sorted_points, ids, advance)
    found = Geometry(
        samples=len(points),
        classes=len(counts),
        mean_radius=float(radii.mean()),
        largest_diameter=diameter,
    )
    if len(counts) < 2:
        return found
    adjacent, _ = _extremes(centres, ids.new_tensor(range(len(counts))))
    return dataclasses.replace(
        found,
        dunn_index=float(linkage.min()) / diameter if diameter > 0 else None,
        mean_adjacent_centre_distance=float(adjacent.mean()),
        mean_single_linkage=float(linkage.mean()),
        smallest_linkage=float(linkage.min()),
    )


def _pieces(count: int, size: int, start: int = 0) -> Iterator[slice]:
    for first in range(start, count, size):
        yield slice(first, min(count, first + size))


def _centred(points: Tensor, order: Tensor) -> Tensor:
    """(N, D) float64: the points in this order, about their mean, where products lose the fewest digits."""
    result = points[:0].double().new_empty(points.shape)
    for piece in _pieces(len(points), _COLUMNS):
        result[piece] = points[order[piece]].to(result)
    return result.sub_(result.mean(0))


def _sum_by(ids: Tensor, values: Tensor, classes: int) -> Tensor:
    """(C, ...) sums of (N, ...) values by class."""
    return values.new_zeros(classes, *values.shape[1:]).index_add_(0, ids, values)


def _distances_to_centre(points: Tensor, centres: Tensor, ids: Tensor) -> Tensor:
    """(N,) distances of points to the centres of their classes."""
    result = points.new_empty(len(points))
    for piece in _pieces(len(points), _COLUMNS):
        result[piece] = _length(points[piece] - centres[ids[piece]])
    return result


def _length(differences: Tensor) -> Tensor:
    return differences.square().sum(-1).sqrt()


def _extremes(points: Tensor, ids: Tensor, advance: Advance = ignore) -> tuple[Tensor, float]:
    """(C,) single linkage of every class to the others, infinite if there are none; the largest diameter.

    Args:
        points: (N, D) float64, sorted by class.
        ids: (N,) 0 ... C - 1, every one of which occurs.
        advance: see `measure`.
    """
    norm = _norms(points)
    nearest = points.new_full((len(points),), math.inf)
    widest, pair = -math.inf, (0, 0)
    for rows in _pieces(len(points), _ROWS):
        last = int(ids[rows.stop - 1])
        # Distances are symmetric, so what precedes the rows has met them.
        for columns in _pieces(len(points), _COLUMNS, rows.start):
            squares = _squares(points, norm, columns, rows)
            if int(ids[columns.start]) <= last:
                same = ids[columns, None] == ids[None, rows]
                inside = squares.masked_fill(~same, -math.inf)
                if float(inside.max()) > widest:
                    place = int(inside.argmax())
                    widest = float(inside.max())
                    pair = columns.start + place // len(same[0]), rows.start + place % len(same[0])
                squares.masked_fill_(same, math.inf)
            nearest[columns] = nearest[columns].minimum(squares.amin(1))
            nearest[rows] = nearest[rows].minimum(squares.amin(0))
        advance(rows.stop, len(points))
    return _exact_linkage(points, norm, ids, nearest), float(_length(points[pair[0]] - points[pair[1]]))


def _norms(points: Tensor) -> Tensor:
    """(N,) squared lengths."""
    result = points.new_empty(len(points))
    for piece in _pieces(len(points), _COLUMNS):
        result[piece] = points[piece].square().sum(1)
    return result


def _squares(points: Tensor, norm: Tensor, columns: slice, rows: slice) -> Tensor:
    """(M, R) squared distances of the points of `columns` to those of `rows`, right to rounding."""
    return norm[None, rows].addmm(points[columns], points[rows].T, alpha=-2).add_(norm[columns, None])


def _exact_linkage(points: Tensor, norm: Tensor, ids: Tensor, nearest: Tensor) -> Tensor:
    """(C,) distance of every class to the nearest sample of another one."""
    classes = int(ids[-1]) + 1
    if classes < 2:
        return points.new_full((classes,), math.inf)
    lowest = nearest.new_full((classes,), math.inf).scatter_reduce_(0, ids, nearest, "amin")
    places = (nearest == lowest[ids]).nonzero().flatten()
    winner = places.new_full((classes,), len(points)).scatter_reduce_(0, ids[places], places, "amin")
    for piece in _pieces(classes, _ROWS):
        lowest[piece] = _nearest_other(points, norm, ids, winner[piece])
    return lowest


def _nearest_other(points: Tensor, norm: Tensor, ids: Tensor, chosen: Tensor) -> Tensor:
    """(R,) distances of chosen points to the nearest point of another class."""
    best = points.new_full((len(chosen),), math.inf)
    partner = chosen.clone()
    for columns in _pieces(len(points), _COLUMNS):
        squares = norm[columns].addmm(points[chosen], points[columns].T, alpha=-2)
        squares.masked_fill_(ids[chosen, None] == ids[None, columns], math.inf)
        value, place = squares.min(1)
        better = value < best
        best = best.minimum(value)
        partner = place.add(columns.start).where(better, partner)
    return _length(points[chosen] - points[partner])
