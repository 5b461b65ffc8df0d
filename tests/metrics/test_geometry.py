"""The geometry of sets by hand, and against the whole matrix of distances."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from dprune_cli.metrics import geometry
from dprune_cli.metrics.geometry import Geometry, measure

NAMES = [item.name for item in dataclasses.fields(Geometry)]


def found(points, label, **options):
    points, label = torch.as_tensor(np.asarray(points)), torch.as_tensor(np.asarray(label))
    return measure(points[:, None] if points.ndim == 1 else points, label, **options)


def expected(points, label):
    """The same from all distances, by the definitions."""
    points, label = np.asarray(points, np.float64), np.asarray(label)
    all_pairs = cdist(points, points)
    present = np.unique(label)
    centres = np.stack([points[label == one].mean(0) for one in present])
    between = cdist(centres, centres) + np.diag(np.full(len(present), np.inf))
    linkage = [all_pairs[label == one][:, label != one].min() for one in present]
    diameter = max(all_pairs[label == one][:, label == one].max() for one in present)
    radius = [
        np.linalg.norm(points[label == one] - centre, axis=1).mean()
        for one, centre in zip(present, centres, strict=True)
    ]
    return {
        "samples": len(points),
        "classes": len(present),
        "dunn_index": min(linkage) / diameter,
        "mean_adjacent_centre_distance": between.min(1).mean(),
        "mean_single_linkage": np.mean(linkage),
        "mean_radius": np.mean(radius),
        "smallest_linkage": min(linkage),
        "largest_diameter": diameter,
    }


# --- by hand


def test_points_on_a_line():
    # a: 0 2 (centre 1), b: 5 6 10 (centre 7), c: 20 (centre 20)
    result = found([6.0, 0.0, 20.0, 10.0, 2.0, 5.0], [1, 0, 7, 1, 0, 1])
    assert result.as_json() == pytest.approx(
        {
            "samples": 6,
            "classes": 3,
            "dunn_index": 3 / 5,
            "mean_adjacent_centre_distance": (6 + 6 + 13) / 3,
            "mean_single_linkage": (3 + 3 + 10) / 3,
            "mean_radius": (1 + (2 + 1 + 3) / 3 + 0) / 3,
            "smallest_linkage": 3,
            "largest_diameter": 5,
        }
    )


def test_two_squares():
    square = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    result = found(np.concatenate([square, 2 * square + [4, 0]]).astype(np.float32), [0] * 4 + [1] * 4)
    assert result.smallest_linkage == result.mean_single_linkage == 3
    assert result.largest_diameter == pytest.approx(math.sqrt(8))
    assert result.dunn_index == pytest.approx(3 / math.sqrt(8))
    # From (0.5, 0.5) to (5, 1).
    assert result.mean_adjacent_centre_distance == pytest.approx(math.hypot(4.5, 0.5))
    assert result.mean_radius == pytest.approx((math.sqrt(0.5) + math.sqrt(2)) / 2)


def test_centres_have_neighbours_that_need_not_be_mutual():
    # Centres 0, 1, 3, 7: nearest are 1, 1, 2, 4 away.
    result = found([0.0, 1.0, 3.0, 7.0], [0, 1, 2, 3])
    assert result.mean_adjacent_centre_distance == 2
    assert result.mean_single_linkage == 2


# --- what is not defined


def test_one_class_is_near_no_other():
    result = found([[0.0, 3.0], [4.0, 0.0]], [2, 2])
    assert result == Geometry(samples=2, classes=1, mean_radius=2.5, largest_diameter=5.0)


def test_one_sample():
    assert found([[1.0, 2.0]], [0]) == Geometry(samples=1, classes=1, mean_radius=0.0, largest_diameter=0.0)


def test_no_sample():
    assert found(np.empty((0, 3), np.float32), np.empty(0, np.int64)) == Geometry(samples=0, classes=0)


def test_classes_of_one_sample_have_no_diameter_to_divide_by():
    result = found([[0.3, 0.1], [0.7, 0.4], [0.3, 0.4]], [0, 1, 4])
    assert result.dunn_index is None and result.largest_diameter == 0 and result.mean_radius == 0
    assert result.smallest_linkage == pytest.approx(0.3)


def test_a_class_of_equal_points_has_no_diameter_either():
    result = found([[0.1, 0.7]] * 5 + [[0.4, 1.1]] * 3, [0] * 5 + [1] * 3)
    assert (result.dunn_index, result.largest_diameter) == (None, 0)
    assert result.mean_radius == pytest.approx(0, abs=1e-15)  # its mean is rounded
    assert result.mean_single_linkage == pytest.approx(0.5)


def test_equal_points_of_two_classes_are_at_no_distance():
    result = found([[0.1, 0.7], [5.3, 5.1], [0.1, 0.7], [9.2, 0.3]], [0, 0, 1, 1])
    assert result.smallest_linkage == 0 == result.dunn_index == result.mean_single_linkage


# --- against the whole matrix


@pytest.mark.parametrize("width", [1, 3, 40])
@pytest.mark.parametrize("sizes", [(40, 25, 1, 7), (3, 90), (1,) * 30, (300, 150, 2)])
def test_blocks_are_the_whole_matrix(width, sizes, monkeypatch):
    monkeypatch.setattr(geometry, "_ROWS", 16)
    monkeypatch.setattr(geometry, "_COLUMNS", 37)
    rng = np.random.default_rng(width)
    label = rng.permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))
    points = (rng.normal(size=(label[-1] + 100, width))[label] + rng.normal(size=(len(label), width))).astype(
        np.float32
    )
    if max(sizes) == 1:
        assert found(points, label).dunn_index is None
        points, label = np.concatenate([points, points[:1] + 1]), np.append(label, label[0])
    result = found(points, label)
    assert list(result.as_json()) == NAMES
    assert result.as_json() == pytest.approx(expected(points, label), rel=1e-9)


def test_the_blocks_that_are_used_are_the_whole_matrix():
    rng = np.random.default_rng(0)
    label = np.sort(rng.choice(5, 3000, p=[0.6, 0.25, 0.1, 0.04, 0.01]))
    points = rng.normal(size=(3000, 8)).astype(np.float32)
    assert found(points, label).as_json() == pytest.approx(expected(points, label), rel=1e-9)


def test_neighbours_far_from_the_origin_keep_their_digits():
    """Products in float32 would tell distances of 0.001 among vectors of length 10,000 by chance."""
    rng = np.random.default_rng(1)
    points = (1000 + rng.normal(size=(60, 100))).astype(np.float32)
    label = np.repeat([0, 1, 2], [30, 20, 10])
    points[35] = points[4]
    points[35, 0] += np.float32(2**-10)
    result = found(points, label)
    assert result.smallest_linkage == 2**-10
    assert result.as_json() == pytest.approx(expected(points, label), rel=1e-9)


def test_the_order_of_samples_does_not_matter():
    rng = np.random.default_rng(2)
    points, label = rng.normal(size=(200, 6)), rng.integers(0, 7, 200)
    order = rng.permutation(200)
    assert found(points[order], label[order]).as_json() == pytest.approx(
        found(points, label).as_json(), rel=1e-12
    )


def test_moved_and_scaled_sets():
    rng = np.random.default_rng(3)
    points, label = rng.normal(size=(50, 4)), np.repeat([0, 1], [35, 15])
    first, other = found(points, label), found(7 - 3 * points, label)
    assert other.dunn_index == pytest.approx(first.dunn_index)
    assert other.mean_radius == pytest.approx(3 * first.mean_radius)


def test_it_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(geometry, "_ROWS", 4)
    steps = []
    found(np.arange(10.0), [0] * 6 + [1] * 4, advance=lambda done, total: steps.append((done, total)))
    assert steps == [(4, 10), (8, 10), (10, 10)]


def test_clusters_far_from_the_origin_keep_their_digits_too():
    """Squares of 1e12 would lose the last of them even in double precision."""
    rng = np.random.default_rng(4)
    label = np.repeat([0, 1, 2], [30, 20, 10])
    points = 0.01 * rng.normal(size=(60, 5)) + 0.1 * label[:, None]
    assert found(points + 1e6, label).as_json() == pytest.approx(expected(points, label), rel=1e-6)
