"""Accuracy by group: an attribute such as the background, or label x attribute as in Waterbirds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dprune_cli.metrics.classification import error_counts, rates


def group_accuracy(label: ArrayLike, pred: ArrayLike, group: ArrayLike, groups: int) -> NDArray[np.float64]:
    """Fraction of every group that is predicted right, (G,); NaN for a group without a sample.

    Args:
        label: (N,) class ids.
        pred: (N,) predicted class ids.
        group: (N,) group ids; samples with a negative id belong to no group and are left out.
        groups: how many groups there are.

    >>> group_accuracy([0, 1, 1, 0], [0, 1, 0, 1], [1, 1, 1, -1], 2).round(3).tolist()
    [nan, 0.667]
    """
    ids = np.asarray(group, np.int64)
    wrong = np.asarray(label) != np.asarray(pred)
    member = ids >= 0
    return rates(*error_counts(ids[member], wrong[member], groups))


def worst_group(accuracy: ArrayLike) -> int | None:
    """The group with the lowest accuracy, the lowest id among equals; None if no group has samples.

    >>> worst_group([0.9, float("nan"), 0.4, 0.4])
    2
    """
    by_group = np.asarray(accuracy, np.float64)
    return None if np.isnan(by_group).all() else int(np.nanargmin(by_group))
