"""Which classes are taken for which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Confusion:
    """Samples of one class that were taken for another.

    Attributes:
        label: the class that they are of.
        pred: the class that they were taken for.
        samples: how many.
        share: of all samples of their class, in (0, 1].
    """

    label: int
    pred: int
    samples: int
    share: float


def most_confused(label: ArrayLike, pred: ArrayLike, most: int) -> list[Confusion]:
    """The pairs of classes with the most samples of the one taken for the other, the most first.

    Of equal counts the larger share comes first, then the lower ids. No C x C matrix is made.

    Args:
        label: (N,) class ids, at least 0.
        pred: (N,) predicted class ids, at least 0.
        most: how many pairs.

    >>> found = most_confused([0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 2, 0], 2)
    >>> [(one.label, one.pred, one.samples, round(one.share, 3)) for one in found]
    [(0, 1, 2, 0.667), (2, 0, 1, 1.0)]
    """
    truth, guess = np.asarray(label, np.int64), np.asarray(pred, np.int64)
    if not len(truth):
        return []
    sizes = np.bincount(truth)
    wrong = truth != guess
    base = int(max(truth.max(), guess.max())) + 1
    pairs, counts = np.unique(truth[wrong] * base + guess[wrong], return_counts=True)
    rows, columns = pairs // base, pairs % base
    share = counts / sizes[rows]
    order = np.lexsort((columns, rows, -share, -counts))[:most]
    found = zip(rows[order], columns[order], counts[order], share[order], strict=True)
    return [Confusion(int(row), int(column), int(count), float(part)) for row, column, count, part in found]
