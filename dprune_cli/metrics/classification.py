"""How well a classifier does, overall and for its worst class.

The three figures of fairness are those of the DRoP paper (Vysogorets, Ahuja, Kempe, "DRoP:
Distributionally Robust Data Pruning", ICLR 2025, https://arxiv.org/abs/2404.05579): the worst class
recall, the gap between best and worst, and the standard deviation of the recalls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dprune_cli.core.errors import DataError


@dataclass(frozen=True)
class Summary:
    """What `summarise` finds; recalls lie in [0, 1].

    Attributes:
        accuracy: fraction of all samples that are predicted right.
        worst_class: lowest recall of a class that has samples.
        worst_id: the class that has it; the lowest id among equals.
        gap: highest recall minus lowest.
        std: population standard deviation (divided by the number of classes, not by one less) of the
            recalls of the classes that have samples.
        recall: (C,) recall of every class, NaN for a class without a sample.
    """

    accuracy: float
    worst_class: float
    worst_id: int
    gap: float
    std: float
    recall: NDArray[np.float64]


def error_counts(ids: ArrayLike, wrong: ArrayLike, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Wrong samples and all samples of every class or group.

    Args:
        ids: (N,) class or group of every sample, 0 to `size` - 1.
        wrong: (N,) whether the sample was predicted wrong.
        size: how many classes or groups there are.

    Returns:
        errors (size,) and count (size,).

    Raises:
        DataError: an id is outside 0 to `size` - 1.
    """
    stratum = np.asarray(ids, np.int64)
    outside = (stratum < 0) | (stratum >= size)
    if outside.any():
        raise DataError(f"id {stratum[outside][0]} is outside 0 to {size - 1}; are the class names complete?")
    count = np.bincount(stratum, minlength=size)
    errors = np.bincount(stratum[np.asarray(wrong, bool)], minlength=size)
    return errors, count


def confusion_counts(
    label: ArrayLike, pred: ArrayLike, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Wrongly predicted samples and all samples of every class, both (C,).

    Any prediction that is not the label is an error, whatever number it is.

    >>> errors, count = confusion_counts([0, 0, 1], [0, 1, 1], 3)
    >>> errors.tolist(), count.tolist()
    ([1, 0, 0], [2, 1, 0])
    """
    truth = np.asarray(label, np.int64)
    return error_counts(truth, truth != np.asarray(pred, np.int64), classes)


def rates(errors: ArrayLike, count: ArrayLike) -> NDArray[np.float64]:
    """1 - errors / count where there are samples, NaN where there are none."""
    wrong, samples = np.asarray(errors, np.float64), np.asarray(count, np.float64)
    rate = np.full(samples.shape, np.nan)
    np.divide(samples - wrong, samples, out=rate, where=samples > 0)
    return rate


def recall(label: ArrayLike, pred: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Fraction of every class that is predicted right, (C,); NaN for a class without a sample.

    >>> recall([0, 0, 1], [0, 1, 1], 3).tolist()
    [0.5, 1.0, nan]
    """
    return rates(*confusion_counts(label, pred, classes))


def summarise(label: ArrayLike, pred: ArrayLike, classes: int) -> Summary:
    """Accuracy and the fairness figures; `DataError` if there is no sample at all.

    Args:
        label: (N,) class ids, 0 to `classes` - 1.
        pred: (N,) predicted class ids.
        classes: how many classes there are; those without a sample count for nothing.

    >>> found = summarise([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], 3)
    >>> found.worst_id, found.worst_class, found.gap, found.std
    (1, 0.5, 0.25, 0.125)
    """
    errors, count = confusion_counts(label, pred, classes)
    if count.sum() == 0:
        raise DataError("there is no sample with a label and a prediction")
    by_class = rates(errors, count)
    worst = int(np.nanargmin(by_class))
    known = by_class[count > 0]
    return Summary(
        accuracy=float(1 - errors.sum() / count.sum()),
        worst_class=float(by_class[worst]),
        worst_id=worst,
        gap=float(known.max() - known.min()),
        std=float(known.std()),
        recall=by_class,
    )
