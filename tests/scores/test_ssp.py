"""SSP by hand, against a slow reference, with clusters, and on data that it has no meaning for."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from embedded import compute, info
from sklearn.exceptions import ConvergenceWarning

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.scores.base import SCORES

NAN = float("nan")
SIZES = (17, 9, 4, 2)


def make_points(width=6):
    """Unequal classes in mixed order; two rows were never seen, one has no direction."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), SIZES))
    embedding = (rng.normal(size=(len(labels), width)) + 2 * np.eye(4, width)[labels]).astype(np.float32)
    unseen = np.flatnonzero(labels == 0)[:2].tolist()
    embedding[unseen] = NAN
    embedding[np.flatnonzero(labels == 1)[0]] = 0
    return labels, embedding, unseen


def to_mean(row, same, embedding, metric):
    """The slow way."""
    vectors = {one: np.float64(embedding[one]) for one in same}
    if metric == "cosine":
        vectors = {one: v / np.linalg.norm(v) if v.any() else v for one, v in vectors.items()}
    mean = sum(vectors.values()) / len(same)
    if metric == "euclidean":
        return math.sqrt(sum((vectors[row] - mean) ** 2))
    return 1 - sum(vectors[row] * mean) / math.sqrt(sum(mean**2))


def test_by_hand():
    embedding = [[0, 3], [0, 1], [4, 0], [5, 5], [-1, -1]]
    labels = [0, 0, 0, 1, 1]
    # Directions (0, 1), (0, 1), (1, 0): their mean points to (1, 2); in class 1 they cancel out.
    expected = [1 - 2 / math.sqrt(5)] * 2 + [1 - 1 / math.sqrt(5)] + [1, 1]
    assert compute("ssp:metric=cosine", info(labels), embedding) == pytest.approx(expected)
    # Means (4/3, 4/3) and (2, 2).
    expected = [math.hypot(4, 5) / 3, math.hypot(4, 1) / 3, math.hypot(8, 4) / 3, *[math.sqrt(18)] * 2]
    assert compute("ssp", info(labels), embedding) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_reference(metric):
    labels, embedding, unseen = make_points()
    found = compute(f"ssp:metric={metric}", info(labels), embedding)
    assert np.flatnonzero(np.isnan(found)).tolist() == unseen
    for row in set(range(len(labels))) - set(unseen):
        same = [one for one in range(len(labels)) if labels[one] == labels[row] and one not in unseen]
        assert found[row] == pytest.approx(to_mean(row, same, embedding, metric), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_clusters_far_apart_are_found_whatever_the_labels(metric):
    rng = np.random.default_rng(2)
    place = rng.permutation(np.repeat(np.arange(3), (12, 5, 3)))
    embedding = np.float32(100 * np.eye(3)[place] * rng.uniform(1, 1.2, (20, 1)) + rng.normal(size=(20, 3)))
    embedding[4] = NAN
    labels = rng.integers(0, 2, 20)
    found = compute(f"ssp:clusters=3,metric={metric}", info(labels), embedding)
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]
    for row in set(range(20)) - {4}:
        same = [one for one in range(20) if place[one] == place[row] and one != 4]
        assert found[row] == pytest.approx(to_mean(row, same, embedding, metric), rel=1e-9, abs=1e-12)
    other = compute(f"ssp:clusters=3,metric={metric}", info(labels * 0), embedding)
    assert np.array_equal(other, found, equal_nan=True)


def test_clusters_for_cosine_are_those_of_directions():
    # Lengths would join the two short vectors, which point apart.
    embedding = [[100, 0], [1, 0.01], [0, 1], [0.01, 100]]
    found = compute("ssp:clusters=2", info([0, 0, 0, 0]), embedding)
    assert (found < 1e-4).all()


@pytest.mark.parametrize("spec", ["ssp", "ssp:metric=cosine", "ssp:clusters=5"])
def test_the_order_of_rows_does_not_matter(spec):
    labels, embedding, _ = make_points()
    before = torch.as_tensor(embedding).clone()
    found = compute(spec, info(labels), embedding)
    assert np.array_equal(embedding, before.numpy(), equal_nan=True)
    order = np.random.default_rng(1).permutation(len(labels))
    moved = compute(spec, info(labels[order], order=order), embedding[order])
    assert np.array_equal(moved, found[order], equal_nan=True)
    assert np.array_equal(compute(spec, info(labels), embedding), found, equal_nan=True)


@pytest.mark.parametrize("spec", ["ssp", "ssp:metric=cosine", "ssp:clusters=3"])
def test_equal_samples_have_equal_scores(spec):
    labels, embedding, _ = make_points()
    found = compute(spec, info([*labels, *labels]), np.concatenate([embedding, embedding]))
    assert np.array_equal(*np.split(found, 2), equal_nan=True)


def test_class_means_take_distances_and_clusters_take_angles():
    labels, embedding, _ = make_points()
    for short, whole in (("", "metric=euclidean"), ("clusters=3", "clusters=3,metric=cosine")):
        found = compute(f"ssp:{short}", info(labels), embedding)
        assert np.array_equal(found, compute(f"ssp:{whole}", info(labels), embedding), equal_nan=True)


def test_cosine_does_not_see_lengths_and_euclidean_does():
    labels, embedding, _ = make_points()
    longer = embedding * np.float32(2.0) ** np.arange(len(labels))[:, None].astype(np.float32)
    same = compute("ssp:metric=cosine", info(labels), longer)
    np.testing.assert_allclose(same, compute("ssp:metric=cosine", info(labels), embedding), atol=1e-12)
    assert not np.allclose(*(compute("ssp", info(labels), x) for x in (embedding, longer)))


def test_more_clusters_than_different_embeddings():
    embedding = np.repeat(np.float32([[1, 0], [0, 1], [3, 3]]), 4, 0)
    labels = [0, 1] * 6
    for metric in ("cosine", "euclidean"):
        assert compute(f"ssp:clusters=3,metric={metric}", info(labels), embedding) == pytest.approx(
            0, abs=1e-9
        )
        many = np.repeat(np.random.default_rng(0).normal(size=(50, 9)), 2, 0)
        assert (compute(f"ssp:clusters=50,metric={metric}", info([0, 1] * 50), many) >= 0).all()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            with pytest.raises(DataError, match="ssp:clusters=5 is more than the 3 different embeddings"):
                compute(f"ssp:clusters=5,metric={metric}", info(labels), embedding)
    with pytest.raises(DataError, match="ssp:clusters=13 is more than the 12 different"):
        compute("ssp:clusters=13", info(labels), embedding)
    with pytest.raises(DataError, match="ssp:clusters=3 is more than the 2 samples"):
        SCORES.make("ssp:clusters=3").check(info([0, 1, -1]))


def test_a_class_of_one_is_its_own_centre():
    with pytest.raises(DataError, match=r"ssp: class 1 has one sample.*'k2'.*ssp:clusters=K"):
        SCORES.make("ssp").check(info([0, 0, 1]))
    SCORES.make("ssp:clusters=3").check(info([0, 0, 1]))


def test_wrong_parameters():
    with pytest.raises(UsageError, match="ssp:clusters=-1 is below 0"):
        SCORES.make("ssp:clusters=-1").recorders(3)
    with pytest.raises(UsageError, match="metric=manhattan"):
        SCORES.make("ssp:metric=manhattan")
