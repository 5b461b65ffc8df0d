"""Names beside the points of a plot."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dprune_cli.report.figures import scatter
from dprune_cli.report.labels import place_labels, text_width

HEIGHT = 9.0


def boxes(places, widths):
    return [
        (x - width / 2, y - HEIGHT / 2, x + width / 2, y + HEIGHT / 2)
        for (x, y), width in zip(places, widths, strict=True)
    ]


def apart(one, other):
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("seed", range(5))
def test_labels_meet_neither_each_other_nor_points_nor_the_border(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(20, 180, (20, 2))
    widths = rng.uniform(10, 80, 20).tolist()
    places = place_labels(points, widths, HEIGHT, (10, 5, 200, 190))
    found = [
        (place, width, point) for place, width, point in zip(places, widths, points, strict=True) if place
    ]
    assert len(found) > 12
    drawn = boxes([place for place, _, _ in found], [width for _, width, _ in found])
    assert all(apart(one, other) for one, other in itertools.combinations(drawn, 2))
    for x, y in points:
        assert all(apart(one, (x, y, x, y)) for one in drawn)
    for box, (_, _, (x, y)) in zip(drawn, found, strict=True):
        assert box[0] >= 10 and box[1] >= 5 and box[2] <= 200 and box[3] <= 190
        # Near its own point.
        assert max(box[0] - x, x - box[2], box[1] - y, y - box[3]) < HEIGHT


def test_a_label_without_room_is_left_out():
    assert place_labels(np.array([[5.0, 5.0]]), [30], HEIGHT, (0, 0, 20, 20)) == [None]
    many = place_labels(np.full((20, 2), 50.0), [30] * 20, HEIGHT, (0, 0, 100, 100))
    assert 4 <= sum(place is not None for place in many) < 20


def test_wide_letters_take_more_room():
    assert text_width("日本", 8) > text_width("ab", 8)


def test_names_of_one_place_stand_apart_in_the_plot_and_too_many_are_left_out():
    svg = scatter([0.5, 0.5, 0.1], [0.5, 0.501, 0.9], ("a", "b"), ["plain", "with space", "far"])
    assert all(f">{name}<" in svg for name in ("plain", "with space", "far"))
    svg = scatter([0.5] * 15, [0.5] * 15, ("a", "b"), [f"the class {number}" for number in range(15)])
    assert 2 <= svg.count(">the class ") < 15
