"""The weights that a selection gives to what it keeps: importance-aware training.

Zhang, Du, Li, Xie, Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, eq. 13, https://arxiv.org/abs/2311.13613: the gradient of a kept sample is
weighted by its score.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Progress
from dprune_cli.io.arrow import from_numpy
from dprune_cli.io.table import ScoreTable

WEIGHT = "weight"


def weigh(table: ScoreTable, keep: NDArray[np.bool_], column: str) -> pa.Array:
    """Weights w_i = v_i / mean(v) over the kept samples, float32 (N,), null where not kept.

    Eq. 13 up to the factor that makes their mean 1, so that the loss and the learning rate keep their
    scale. No value is flipped or shifted: a column in which low is good gives low weights to good samples.

    Args:
        table: N rows.
        keep: (N,) what is kept.
        column: the values v.

    Raises:
        DataError: the column is missing, or holds a negative, infinite or missing value, or nothing but
            zeros, among the kept samples.
    """
    values = table.numbers(column)
    bad = np.flatnonzero(keep & ~((values >= 0) & np.isfinite(values)))
    if len(bad):
        row = int(bad[0])
        value = "no value" if np.isnan(values[row]) else f"the value {values[row]:g}"
        raise DataError(
            f"{table.source}: column {column!r} has {value} at key {table.data['key'][row].as_py()!r}, which "
            f"is kept; --weight-by needs finite values of at least 0 ({len(bad)} of {keep.sum()} are none)"
        )
    largest = values[keep].max(initial=0.0)
    if keep.any() and largest == 0:
        row = int(np.flatnonzero(keep)[0])
        raise DataError(
            f"{table.source}: column {column!r} is 0 at all {keep.sum()} kept samples (first at key "
            f"{table.data['key'][row].as_py()!r}); --weight-by needs a value above 0"
        )
    weight = np.zeros(len(table), np.float32)
    if keep.any():
        # Divided by the largest first, so that no sum overflows.
        scaled = values[keep] / largest
        weight[keep] = scaled / scaled.mean()
    return from_numpy(weight, ~keep)


def without_old_weights(table: ScoreTable, progress: Progress) -> ScoreTable:
    """The table without the weights of an earlier selection, which are scaled to what that one kept.

    Weights that no selection wrote are the user's own and stay.
    """
    if WEIGHT not in table or table.meta.last_step("select").get("weight_by") is None:
        return table
    progress.note(
        f"{table.source} holds weights of an earlier selection; they are dropped (--weight-by makes new)"
    )
    return table.without(WEIGHT)
