"""The weights that a selection gives to what it keeps: importance-aware training.

Zhang, Du, Li, Xie, Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, eq. 13, https://arxiv.org/abs/2311.13613: the gradient of a kept sample is
weighted by its score.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Progress
from dprune_cli.io.table_columns import read_numbers
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.ranking import positions

WEIGHT = "weight"

Table = TypeVar("Table", bound=TableView)


def weigh(table: TableView, keep: NDArray[np.bool_], column: str) -> NDArray[np.float32]:
    """Weights w_i = v_i / mean(v) over the kept samples, float32 (N,), 0 where not kept.

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
    values = read_numbers(table, column)
    bad = positions(keep & ~((values >= 0) & np.isfinite(values)))
    if len(bad):
        row = int(bad[0])
        value = "no value" if np.isnan(values[row]) else f"the value {values[row]:g}"
        raise DataError(
            f"{table.source}: column {column!r} has {value} at key {table.value('key', row)!r}, which "
            f"is kept; --weight-by needs finite values of at least 0 ({len(bad)} of {keep.sum()} are none)"
        )
    kept = values[keep].astype(np.float64)
    largest = kept.max(initial=0.0)
    if len(kept) and largest == 0:
        row = int(np.argmax(keep))
        raise DataError(
            f"{table.source}: column {column!r} is 0 at all {len(kept)} kept samples (first at key "
            f"{table.value('key', row)!r}); --weight-by needs a value above 0"
        )
    weight = np.zeros(len(table), np.float32)
    if len(kept):
        # Divided by the largest first, so that no sum overflows.
        kept /= largest
        kept /= kept.mean()
        weight[keep] = kept
    return weight


def without_old_weights(table: Table, progress: Progress) -> Table:
    """The table without the weights of an earlier selection, which are scaled to what that one kept.

    Weights that no selection wrote are the user's own and stay.
    """
    if WEIGHT not in table or table.meta.last_step("select").get("weight_by") is None:
        return table
    progress.note(
        f"{table.source} holds weights of an earlier selection; they are dropped (--weight-by makes new)"
    )
    return table.without(WEIGHT)
