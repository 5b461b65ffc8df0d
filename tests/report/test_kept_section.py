"""What a report says of classes and groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dprune_cli.metrics.coverage import Coverage, correlate
from dprune_cli.report.blocks import Figure, Grid, Warnings
from dprune_cli.report.kept_section import MOST_ROWS, kept_section
from dprune_cli.stages.select import Left


def left(available, kept, names=None, by="class"):
    coverage = Coverage(np.array(available), np.array(kept))
    names = names or [f"c{number}" for number in range(len(available))]
    return Left(by, names, coverage, None)


def blocks(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def test_a_row_a_class_with_what_is_known_of_it():
    found = kept_section(
        left([8, 4, 1, 0], [4, 1, 1, 0], ["ant", "<b>", "cat", "dog"]), [0.5, None, 1.0, None]
    )
    (grid,) = blocks(found, Grid)
    assert [column.name for column in grid.columns] == ["class", "kept", "density", "recall", "available"]
    assert grid.rows == [
        ["ant", 4, 0.5, 0.5, 8],
        ["<b>", 1, 0.25, None, 4],
        ["cat", 1, 1.0, 1.0, 1],
        ["dog", 0, None, None, 0],
    ]


def test_recall_is_left_out_where_it_is_not_known():
    for recall in (None, [], [None] * 4, [0.5]):
        found = kept_section(left([8, 4, 1, 0], [4, 1, 1, 0]), recall)
        assert len(blocks(found, Grid)[0].columns) == 4 and not blocks(found, Figure)


def test_density_against_recall_has_its_correlation_and_names():
    found = kept_section(left([10, 10, 10], [2, 4, 9]), [0.9, 0.8, 0.55])
    (figure,) = blocks(found, Figure)
    assert correlate([0.2, 0.4, 0.9], [0.9, 0.8, 0.55]) == -1.0
    assert "is -1.00" in figure.caption and ">c1<" in figure.svg


def test_a_constant_recall_has_no_correlation():
    (figure,) = blocks(kept_section(left([10, 10], [2, 4]), [0.5, 0.5]), Figure)
    assert "is not defined" in figure.caption


def test_names_of_many_points_are_not_drawn():
    found = kept_section(left([10] * 30, range(1, 31)), np.linspace(0, 1, 30).tolist())
    assert "c7<" not in blocks(found, Figure)[0].svg


def test_empty_and_nearly_empty_classes_are_named_and_whole_ones_are_not():
    # 505 of 1320 samples are kept.
    found = left([1000, 8, 300, 3, 0, 9], [490, 4, 8, 3, 0, 0], ["a", "b", "c", "d", "e", "f"])
    section = kept_section(found, None)
    empty, few, thin = blocks(section, Warnings)[0].lines
    assert empty == "nothing is kept of f; quotas with --min-per-class would keep more"
    assert few == "fewer than 5 samples are kept of b; quotas with --min-per-class would keep more"
    assert thin.startswith("less than a tenth of the common density (38.3 %) is kept of c;")
    assert blocks(section, Grid)[0].marked == {1, 2, 5}


def test_where_few_are_usual_only_what_stands_out_is_marked():
    # 4 of 12 are kept of 30 classes, 8 of 24 of another 10, and of two much less.
    section = kept_section(left([12] * 30 + [24] * 10 + [50, 9], [4] * 30 + [8] * 10 + [1, 0]), None)
    empty, few, thin = blocks(section, Warnings)[0].lines
    assert empty.startswith("nothing is kept of c41;")
    assert few.startswith("fewer than 5 samples are kept of 30 classes: c0, ")
    assert "c7 and 22 more, too many to mark; quotas" in few
    assert thin.startswith("less than a tenth of the common density (30.5 %) is kept of c40;")
    assert blocks(section, Grid)[0].marked == {40, 41}


def test_of_few_classes_the_small_ones_are_marked_however_many():
    section = kept_section(left([12] * 8 + [100], [4] * 8 + [40]), None)
    assert blocks(section, Grid)[0].marked == set(range(8))


def test_nothing_is_said_where_all_is_well():
    assert not blocks(kept_section(left([10, 20], [5, 10]), None), Warnings)


def test_many_classes_are_counted_and_the_smallest_shown():
    found = kept_section(left([100] * 40, [0] * 20 + list(range(20, 40))), None)
    (warning,) = blocks(found, Warnings)[0].lines
    assert warning.startswith("nothing is kept of 20 classes: c0, c1, ") and "and 12 more" in warning
    smallest = blocks(found, Grid)[1]
    assert [row[0] for row in smallest.rows] == [f"c{number}" for number in range(10)]


@pytest.mark.parametrize("by", ["class", "group"])
def test_of_very_many_only_the_thinnest_are_listed(by):
    strata = MOST_ROWS + 500
    kept = np.arange(strata)
    found = kept_section(left([strata] * strata, kept, by=by), None)
    grid = blocks(found, Grid)[0]
    assert len(grid.rows) == MOST_ROWS and grid.rows[-1][0] == f"c{MOST_ROWS - 1}"
    assert f"of {strata:,}" in grid.caption and 0 in grid.marked
    assert not any(math.isnan(row[2]) for row in grid.rows)


def test_of_very_many_those_that_had_nothing_come_last():
    absent = [0] * MOST_ROWS
    section = kept_section(left([*absent, 4, 8], [*absent, 2, 7]), [*absent, None, 0.5])
    grid = blocks(section, Grid)[0]
    assert [row[:3] for row in grid.rows[-2:]] == [[f"c{MOST_ROWS}", 2, 0.5], [f"c{MOST_ROWS + 1}", 7, 0.875]]
    assert grid.rows[0] == ["c0", 0, None, 0.0, 0] and grid.rows[-2][3] is None
