"""What a report says of score columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from toy_selection import LABELS, SCORES, toy_selection, toy_table

from dprune_cli.report import figures
from dprune_cli.report.blocks import Grid
from dprune_cli.report.score_section import score_section
from dprune_cli.stages import score_columns


def by_title(found):
    return {getattr(block, "title", "warnings"): block for block in score_section(found).blocks}


def test_every_column_has_a_histogram_and_the_cut_stands_in_its_own():
    found = by_title(toy_selection())
    assert list(found) == [
        "Spread of grade",
        "Spread of margin",
        "Rank correlation of the scores",
        "Overlap of what the scores would keep",
    ]
    assert (
        found["Spread of grade"].caption
        == "The high end is the hard one. The cut is at 3.5. 1 samples have no value."
    )
    assert found["Spread of margin"].caption == "The low end is the hard one. 1 samples have no value."
    assert ">cut<" in found["Spread of grade"].svg and ">cut<" not in found["Spread of margin"].svg


def test_cuts_of_classes_are_a_range():
    table = toy_table(quota=np.array([3, 1, 1, 0])[LABELS])
    assert (
        "Every class has a cut of its own, from 3.5 to 5."
        in by_title(toy_selection(None, table=table))["Spread of grade"].caption
    )


def test_columns_without_a_value_or_with_equal_ones_do_no_harm():
    nothing, same = pa.array([None] * 14, pa.float32()), pa.array([0.1] * 14, pa.float32())
    known = {**SCORES, "nothing": {}, "same": {}}
    found = by_title(toy_selection(table=toy_table(known, nothing=nothing, same=same)))
    assert "Spread of nothing" not in found and "Spread of same" in found
    why = found["Scores that cannot fill this budget"]
    assert isinstance(why, Grid) and [row[0] for row in why.rows] == ["nothing"]


def test_a_column_with_nan_is_shown_as_far_as_it_goes():
    broken = pa.array([float("nan"), *range(13)])
    found = by_title(toy_selection(table=toy_table({**SCORES, "broken": {}}, broken=broken)))
    assert found["Spread of broken"].caption == "1 samples have no value."
    assert "'broken' holds 1 NaN" in found["Scores that cannot fill this budget"].rows[0][1]


def test_a_table_without_scores_has_no_section():
    assert score_section(toy_selection(by="random", table=toy_table({}))) is None


def test_it_is_said_if_only_some_samples_were_ranked(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: "<svg></svg>")
    said = " 10 samples were looked at, drawn at random."
    assert said not in by_title(toy_selection())["Rank correlation of the scores"].caption
    monkeypatch.setattr(score_columns, "MOST_RANKED", 10)
    assert by_title(toy_selection())["Rank correlation of the scores"].caption.endswith(said)
