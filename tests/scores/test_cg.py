"""CG by hand, against leaving every sample out and solving anew, and on data that it has no meaning for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from embedded import compute, info

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.scores.base import SCORES
from dprune_cli.scores.cg import complexity_gaps, kernel

NAN = float("nan")
SIZES = (17, 9, 4, 1)


def make_points(width=8):
    """Unequal classes in mixed order; three rows were never seen."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), SIZES))
    embedding = (rng.normal(size=(len(labels), width)) + np.eye(4, width)[labels]).astype(np.float32)
    unseen = [*np.flatnonzero(labels == 0)[:2], np.flatnonzero(labels == 1)[3]]
    embedding[unseen] = NAN
    return labels, embedding, unseen


def slow_kernel(vectors):
    """H, number by number."""
    count = len(vectors)
    matrix = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            a, b = np.float64(vectors[i]), np.float64(vectors[j])
            lengths = math.sqrt(sum(a * a)) * math.sqrt(sum(b * b))
            cosine = sum(a * b) / lengths if lengths else 0
            matrix[i, j] = cosine * (math.pi - math.acos(max(-1, min(1, cosine)))) / (2 * math.pi)
        matrix[i, i] = 0.5
    return matrix


def leave_one_out(matrix, label, row):
    """What the paper defines."""
    rest = np.delete(np.arange(len(label)), row)
    within = label @ np.linalg.solve(matrix, label)
    return within - label[rest] @ np.linalg.solve(matrix[np.ix_(rest, rest)], label[rest])


def test_by_hand():
    # At a right angle H is 1/2 on its diagonal: every sample adds 2, whatever the labels and lengths.
    assert compute("cg:ridge=0", info([0, 1]), [[3, 0], [0, 0.1]]) == pytest.approx([2, 2])
    # At 60 degrees H_12 = 1/2 * (2/3) / 2 = 1/6: (1, -1) has the eigenvalue 1/3, so 6 with both, 2 with one.
    found = compute("cg:ridge=0", info([0, 1]), [[1, 0], [2, 2 * math.sqrt(3)]])
    assert found == pytest.approx([4, 4], rel=1e-6)


def test_the_closed_form_is_leaving_one_out():
    rng = np.random.default_rng(3)
    for others, mine in ((0, 5), (1, 9), (30, 11), (40, 40)):
        vectors = rng.normal(size=(others + mine, 7))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        matrix = slow_kernel(vectors)
        np.testing.assert_allclose(kernel(torch.from_numpy(vectors)).numpy(), matrix, atol=1e-13)
        label = np.repeat([-1.0, 1.0], (others, mine))
        expected = [leave_one_out(matrix, label, row) for row in range(others, others + mine)]
        found = complexity_gaps(torch.from_numpy(matrix), mine).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("ridge", [0, 1e-3])
def test_reference_where_nothing_is_drawn(ridge):
    # Class 0 is larger than the others together, and the others of a class of half the samples are all.
    rng = np.random.default_rng(1)
    labels = np.array([0] * 9 + [1] * 4 + [2] * 2 + [0])
    embedding = np.float32(rng.normal(size=(16, 5)))
    embedding[3] = NAN
    found = compute(f"cg:ridge={ridge},repeats=2", info(labels), embedding)
    seen = [row for row in range(16) if row != 3]
    matrix = slow_kernel(embedding[seen]) + ridge * np.eye(15)
    label = np.where(labels[seen] == 0, 1.0, -1.0)
    expected = [leave_one_out(matrix, label, at) for at, row in enumerate(seen) if labels[row] == 0]
    np.testing.assert_allclose(found[[row for row in seen if labels[row] == 0]], expected, rtol=1e-6)
    assert np.isnan(found[3]) and np.isfinite(np.delete(found, 3)).all()


def test_reference_of_a_draw():
    # One member and one other sample, drawn from six: the mean is one of a mean's few possible values.
    rng = np.random.default_rng(2)
    embedding = np.float32(rng.normal(size=(7, 4)))
    labels = [1, 0, 0, 0, 0, 0, 0]
    alone = []
    for other in range(1, 7):
        matrix = slow_kernel(embedding[[other, 0]])
        alone.append(leave_one_out(matrix, np.array([-1.0, 1.0]), 1))
    once = {round(compute("cg:ridge=0,repeats=1", info(labels, seed), embedding)[0], 6) for seed in range(60)}
    assert once == {round(value, 6) for value in alone}  # every other sample is drawn some time
    (found,) = compute("cg:ridge=0,repeats=200,block=2", info(labels), embedding)[:1]
    # A mean of 200 draws is within five standard errors.
    assert abs(found - np.mean(alone)) < 5 * np.std(alone) / math.sqrt(200)
    assert found != pytest.approx(alone[0])


def test_blocks_cover_a_class_and_have_others_of_their_own():
    # Members of class 0 are all equal but for one direction each: which of them share a block does not
    # matter, only that blocks have three members and three others.
    labels = [0] * 9 + [1] * 4
    embedding = np.eye(13, 16, dtype=np.float32)
    embedding[:, 15] = 1
    found = compute("cg:ridge=0,block=3,repeats=3", info(labels), embedding)[:9]
    label = np.array([-1.0] * 3 + [1.0] * 3)
    expected = leave_one_out(slow_kernel(embedding[[9, 10, 11, 0, 1, 2]]), label, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    whole = compute("cg:ridge=0,block=9,repeats=3", info(labels), embedding)[:9]
    label = np.array([-1.0] * 4 + [1.0] * 9)
    matrix = slow_kernel(embedding[[9, 10, 11, 12, *range(9)]])
    np.testing.assert_allclose(whole, leave_one_out(matrix, label, 4), rtol=1e-6)
    assert abs(whole - found).min() > 0.1


def test_blocks_are_cut_anew_for_every_repeat():
    # Members 0 and 1 are at 60 degrees, as are 2 and 3; all else is at right angles. Two at 60 degrees with
    # the same label have the eigenvalue 2/3: 3 with both and 2 with one. One pairing in three joins them.
    half, rest = 0.5, math.sqrt(0.75)
    embedding = np.zeros((8, 8))
    embedding[range(8), range(8)] = 1
    embedding[1, :2] = embedding[3, 2:4] = half, rest
    found = compute("cg:ridge=0,block=2,repeats=300", info([0] * 4 + [1] * 4), embedding)[:4]
    assert found == pytest.approx([found[0]] * 4)
    assert abs(found[0] - 5 / 3) < 5 * math.sqrt(2 / 9 / 300)


def test_equal_directions_are_exactly_equal():
    # Rounding leaves cosines of 1 - 1e-16, which would be angles of 1e-8.
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 512)) * np.arange(1, 40)[:, None])
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    assert (kernel(vectors) == 0.5).all()


@pytest.mark.parametrize("spec", ["cg", "cg:block=4,repeats=3"])
def test_the_order_of_rows_does_not_matter(spec):
    labels, embedding, unseen = make_points()
    found = compute(spec, info(labels), embedding)
    assert np.flatnonzero(np.isnan(found)).tolist() == sorted(unseen)
    assert (found[~np.isnan(found)] >= 0).all()
    order = np.random.default_rng(1).permutation(len(labels))
    moved = compute(spec, info(labels[order], order=order), embedding[order])
    assert np.array_equal(moved, found[order], equal_nan=True)
    assert not np.array_equal(compute(spec, info(labels, seed=1), embedding), found, equal_nan=True)


def test_lengths_do_not_matter_and_no_direction_is_a_right_angle():
    labels, embedding, unseen = make_points()
    longer = embedding * np.float32(2) ** np.arange(len(labels), dtype=np.float32)[:, None]
    found = compute("cg", info(labels), embedding)
    np.testing.assert_allclose(compute("cg", info(labels), longer), found, rtol=1e-9)
    # Two of them are not equal features: they stand at a right angle even to one another.
    rows = np.flatnonzero(labels == 1)[[0, 1]]
    assert not set(rows) & set(unseen)
    embedding[rows] = 0
    assert compute("cg:ridge=0", info(labels), embedding)[rows] == pytest.approx([2, 2], rel=1e-9)


@pytest.mark.parametrize("scale", [1, 3])
def test_images_that_are_there_twice(scale):
    rng = np.random.default_rng(5)
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    embedding = np.float32(rng.normal(size=(10, 600)))
    # Of lengths that are no power of two, directions differ in the last bits.
    embedding[1] = embedding[0] * scale
    embedding[9] = embedding[2] * scale
    found = compute("cg:block=100,ridge=1e-6", info(labels), embedding)
    one_label, two_labels, single = found[[0, 1]], found[[2]], found[[3, 4, 5]]
    assert (one_label < 1e-4).all() and (one_label >= 0).all()
    assert two_labels == pytest.approx(2e6, rel=1e-4)
    assert ((single > 0.1) & (single < 10)).all()
    with pytest.raises(DataError, match=r"'k\d' and 'k\d' have equal features.*cg:ridge=1e-06 or remove"):
        compute("cg:block=100,ridge=0", info(labels), embedding)


def test_the_error_names_the_two():
    embedding = np.eye(6, dtype=np.float32)
    embedding[4] = 2 * embedding[1]
    with pytest.raises(DataError, match=r"'k1' and 'k4' have equal|'k4' and 'k1' have equal"):
        compute("cg:ridge=0", info([0, 0, 0, 1, 1, 1]), embedding)
    # More pairs of opposite directions than dimensions depend on one another without two being equal.
    angles = np.pi * np.array([0, 1, 0.3, 1.3, 0.55, 1.55])
    embedding = np.stack([np.cos(angles), np.sin(angles)], 1)
    with pytest.raises(DataError, match=r"matrix of class \d is singular with ridge=0; give cg:ridge=1e-06"):
        compute("cg:ridge=0", info([0, 0, 0, 1, 1, 1]), np.float32(embedding))
    assert np.isfinite(compute("cg", info([0, 0, 0, 1, 1, 1]), embedding)).all()


def test_one_class_has_nothing_to_be_told_from():
    with pytest.raises(DataError, match="there is only one"):
        SCORES.make("cg").check(info([1, 1, -1, 1]))
    SCORES.make("cg").check(info([1, 1, -1, 0]))


@pytest.mark.parametrize(
    "spec", ["repeats=0", "block=1", "ridge=-1e-06", "ridge=nan", "ridge=inf", "block=0", "repeats=-3"]
)
def test_wrong_parameters(spec):
    with pytest.raises(UsageError, match=f"cg:{spec} "):
        SCORES.make(f"cg:{spec}").recorders(3)
