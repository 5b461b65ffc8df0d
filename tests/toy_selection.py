"""A selection of 14 samples whose ranks are known by heart: classes of 8, 4 and 1, and one without any."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.progress import Silent
from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.stages.select import SelectRequest, select

NAMES = ["ant", "<script>$x^2$", "cat", "dog"]
GROUPS = ["land", "water"]
LABELS = [0] * 8 + [1] * 4 + [2, 2]
KEYS = [f"k{number:02}" for number in range(14)]
# The last sample cannot be used, so the third class has one.
STATUS = ["ok"] * 13 + ["decode_error"]
# Hard is high: k07 is the hardest ant, k11 the hardest of the second class.
GRADE = [float(number) for number in range(8)] + [0.5, 1.5, 2.5, 3.5] + [9.0, None]
MARGIN = [5.0, 4.0, -8.0, 2.0, 1.0, 0.0, -1.0, -2.0, 3.0, -3.0, 1.0, 0.0, 7.0, None]
SCORES = {
    "grade": {"keep_first": "high", "hard_end": "high"},
    "margin": {"method": "aum", "keep_first": "high", "hard_end": "low"},
}


def toy_table(scores=None, steps=(), drop=(), order=None, meta=None, **columns):
    """The table; `columns` are added or replaced, `drop` left out."""
    data = {
        "key": KEYS,
        "label": pa.array(LABELS, pa.int32()),
        "group": pa.array(np.arange(14) % 2, pa.int32()),
        "status": STATUS,
        "grade": pa.array(GRADE, pa.float32()),
        "margin": pa.array(MARGIN, pa.float32()),
        **columns,
    }
    table = pa.table({name: values for name, values in data.items() if name not in drop})
    known = meta or TableMeta(
        classes=NAMES, groups=GROUPS, scores=SCORES if scores is None else scores, steps=list(steps)
    )
    return ScoreTable(table if order is None else table.take(pa.array(order)), known, "T")


def toy_selection(keep="6", by="grade", table=None, **options):
    """What is kept of it: by default k04 to k07, k11 and k12, so that the cut is at 3.5."""
    request = SelectRequest(by=by, keep=None if keep is None else parse_budget(keep), **options)
    return select(table or toy_table(), request, Silent())
