"""Moderate by hand, against a slow reference, and on data that it has no meaning for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from embedded import info

from dprune_cli.core.errors import DataError
from dprune_cli.scores.base import SCORES

NAN = float("nan")
SIZES = (17, 9, 4, 2)


def compute(run, embedding, spec="moderate"):
    return SCORES.make(spec).compute(run, embedding=torch.as_tensor(embedding, dtype=torch.float32)).numpy()


def make_points(width=70):
    """Unequal classes in mixed order; two rows of one class and one of another were never seen."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), SIZES))
    embedding = (rng.normal(size=(len(labels), width)) + labels[:, None]).astype(np.float32)
    unseen = [*np.flatnonzero(labels == 0)[:2], np.flatnonzero(labels == 1)[3]]
    embedding[unseen] = NAN
    return labels, embedding, unseen


def test_by_hand():
    # Class 0 has the median (1, 0) although its mean is (4, 0); class 2 the mean of two in the middle.
    embedding = [[0, 0], [1, 0], [11, 0], [1, 3], [7, 3], [4, 4]]
    labels = [0, 0, 0, 2, 2, 0]
    found = compute(info(labels), embedding)
    # Of 0, 1, 4, 11 and of 0, 0, 0, 4: the median is (2.5, 0).
    assert found == pytest.approx([2.5, 1.5, 8.5, 3, 3, math.hypot(1.5, 4)])


def test_reference():
    labels, embedding, unseen = make_points()
    found = compute(info(labels), embedding)
    assert np.flatnonzero(np.isnan(found)).tolist() == sorted(unseen)
    for row in set(range(len(labels))) - set(unseen):
        same = [one for one in range(len(labels)) if labels[one] == labels[row] and one not in unseen]
        centre = [np.median([float(embedding[one, d]) for one in same]) for d in range(embedding.shape[1])]
        expected = math.sqrt(sum((embedding[row] - centre) ** 2))
        assert found[row] == pytest.approx(expected, rel=1e-9)


def test_neither_order_nor_seed_nor_other_classes_matter():
    labels, embedding, _ = make_points()
    found = compute(info(labels), embedding)
    order = np.random.default_rng(1).permutation(len(labels))
    moved = compute(info(labels[order], order=order), embedding[order])
    assert np.array_equal(moved, found[order], equal_nan=True)
    assert np.array_equal(compute(info(labels, seed=5), embedding), found, equal_nan=True)
    two = labels < 2
    assert np.array_equal(compute(info(labels[two]), embedding[two]), found[two], equal_nan=True)


def test_equal_samples_have_equal_scores():
    labels, embedding, _ = make_points()
    found = compute(info([*labels, *labels]), np.concatenate([embedding, embedding]))
    assert np.array_equal(*np.split(found, 2), equal_nan=True)


def test_a_class_of_one_is_its_own_centre():
    score = SCORES.make("moderate")
    score.check(info([0, 0, 2, 2]))
    # Samples that cannot be used do not count.
    with pytest.raises(DataError, match=r"moderate: class 3 has one sample, .* own centre \('k2'\); merge"):
        score.check(info([0, 0, 3, 0, -1, -1]))


def test_it_watches_embeddings_alone():
    (recorder,) = SCORES.make("moderate").recorders(7).values()
    assert recorder.epochs == {7} and [one.value for one in recorder.fields] == ["embedding"]
    assert SCORES.make("moderate").info.keep_first == "middle"
