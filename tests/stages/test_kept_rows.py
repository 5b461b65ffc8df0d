"""What a table keeps of a data set."""

from __future__ import annotations

import pytest
from toy_stages import make_table

from dprune_cli.core.errors import DataError
from dprune_cli.io.dataset import open_samples
from dprune_cli.stages.kept_rows import find_kept

KEYS = ["cat/01", "ant/03", "bee/00", "ant/01"]


def test_only_usable_rows_are_kept_whatever_else_a_table_says(image_folder):
    samples = open_samples([str(image_folder)])
    table = make_table(KEYS, keep=[True, True, None, False], status=["ok", "decode_error", "ok", "ok"])
    keep, rows = find_kept(table, samples)
    assert keep.tolist() == [True, False, False, False]
    assert [samples.keys[row] for row in rows] == ["cat/01"]
    keep, rows = find_kept(table.without("keep"), samples)
    assert keep.tolist() == [True, False, True, True]
    assert [samples.keys[row] for row in rows] == ["cat/01", "bee/00", "ant/01"]
    with pytest.raises(DataError, match="it keeps no sample"):
        find_kept(make_table(KEYS, keep=[True] * 4, status=["decode_error"] * 4), samples)
