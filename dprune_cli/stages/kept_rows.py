"""Which samples a table keeps, by key."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable, check_keys

KEEP = "keep"


def find_kept(table: ScoreTable, samples: Samples) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """What a table keeps: the rows with `keep`, or all of them if nothing was selected yet.

    Args:
        table: n rows.
        samples: what it is about.

    Returns:
        keep: (n,) rows of the table that are kept, K in all.
        rows: (K,) rows of `samples` with their keys, in the order of the table.

    Raises:
        DataError: it keeps nothing, or a key that no usable sample has, or has a key twice.
    """
    check_keys(table)
    keep = table.ok()
    if KEEP in table:
        keep &= np.asarray(pc.fill_null(table.data[KEEP], False))
    if not keep.any():
        raise DataError(f"{table.source}: it keeps no sample")
    keys = table.data["key"].filter(pa.array(keep))
    usable = np.flatnonzero(samples.ok())
    place = pc.index_in(keys, value_set=pa.array([samples.keys[row] for row in usable], pa.string()))
    if place.null_count:
        lost = keys.filter(pc.is_null(place))[0].as_py()
        where = samples.recording or "DATA"
        raise DataError(
            f"{table.source}: {place.null_count} of its kept samples are not in {where}, or not usable there "
            f"(first {lost!r}); is it the table of another data set?{samples.hint}"
        )
    return keep, usable[np.asarray(place.combine_chunks())]
