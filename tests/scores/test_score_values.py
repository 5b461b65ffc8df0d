"""Every score on cases worked by hand, and against a slow reference in NumPy."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from toy_trajectory import KEYS, LABELS, compute, compute_by_hand, make_info, make_logits

from dprune_cli.core.errors import UsageError
from dprune_cli.io.keys import draw_seed, hash_keys, uniform
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import Phase

LOG3 = math.log(3)


def softmax(logits):
    """Of one row, in double precision."""
    shifted = [math.exp(float(value) - float(max(logits))) for value in logits]
    return [value / sum(shifted) for value in shifted]


def each(function, logits, labels=LABELS):
    """`function` of the E rows of logits of every sample and its label."""
    return np.array([function([one[row] for one in logits], label) for row, label in enumerate(labels)])


# --- el2n


def test_el2n_by_hand():
    # p = (3/4, 1/4): the error vector is (-1/4, 1/4) or (3/4, -3/4), times sqrt 2 in length.
    found = compute_by_hand("el2n", [[[LOG3, 0], [LOG3, 0], [0, 0], [-200, 200]]], [0, 1, 1, 0])
    expected = [math.sqrt(2) / 4, 3 * math.sqrt(2) / 4, math.sqrt(0.5), math.sqrt(2)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_el2n_reference():
    logits = make_logits(12)
    for spec, epoch in (("el2n", 10), ("el2n:epoch=1", 1), ("el2n:epoch=12", 12)):
        clean = logits[epoch - 1, 1]

        def norm(rows, label):
            p = softmax(rows[0])
            return math.sqrt(sum((p[c] - (c == label)) ** 2 for c in range(4)))

        (found,) = compute([spec], logits)
        np.testing.assert_allclose(found, each(norm, [clean]), rtol=1e-5, atol=1e-6)
        assert (found >= 0).all() and (found <= math.sqrt(2) + 1e-6).all()


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, 1), (5, 5), (10, 10), (11, 10), (100, 10), (101, 11), (200, 20), (205, 21)]
)
def test_el2n_looks_after_a_tenth_of_the_schedule_but_at_least_ten_epochs(epochs, expected):
    (recorder,) = SCORES.make("el2n").recorders(epochs).values()
    assert recorder.epochs == {expected} and recorder.phase is Phase.PROBE


@pytest.mark.parametrize("epoch", [0, -1, 6])
def test_el2n_outside_the_schedule(epoch):
    with pytest.raises(UsageError, match=f"el2n:epoch={epoch} lies outside the schedule of 5 epochs"):
        SCORES.make(f"el2n:epoch={epoch}").recorders(5)


# --- forgetting


def test_forgetting_by_hand():
    right, wrong = [1, 0], [0, 1]
    passes = [
        # learned and kept, forgotten twice, never learned, learned late, forgotten at the end
        [right, right, wrong, wrong, right],
        [right, wrong, wrong, wrong, right],
        [right, right, wrong, wrong, right],
        [right, wrong, wrong, right, wrong],
    ]
    assert compute_by_hand("forgetting", passes, [0] * 5) == [0, 2, 5, 0, 1]
    # A tie goes to the lower class.
    assert compute_by_hand("forgetting", [[[1, 1], [1, 1]]], [0, 1]) == [0, 2]


def test_forgetting_reference():
    for epochs in (1, 2, 9):
        logits = make_logits(epochs)

        def count(rows, label):
            right = [int(np.argmax(row)) == label for row in rows]
            if not any(right):
                return len(rows) + 1
            return sum(before and not after for before, after in pairwise(right))

        (found,) = compute(["forgetting"], logits)
        expected = each(count, logits[:, 0])
        assert found.tolist() == expected.tolist()
        assert epochs < 9 or len(set(expected)) > 3  # the case is worth its name
        assert (expected == epochs + 1).any()


def test_a_sample_that_was_never_seen_has_no_score():
    info = make_info(3)
    for spec in ("forgetting", "aum", "dyn_unc:window=2"):
        score = SCORES.make(spec)
        watched = score.recorders(3)
        for recorder in watched.values():
            recorder.start(info)
        found = score.compute(info, **{name: one.result() for name, one in watched.items()})
        assert found.isnan().all()


# --- aum


def test_aum_by_hand():
    passes = [[[3, 1, 0], [3, 1, 0], [5, 5, 5]], [[-1, 1, 4], [-1, 1, 4], [0, 0, 7]]]
    # Margins 2 and -5; -2 and -3; 0 and 7.
    assert compute_by_hand("aum", passes, [0, 1, 2]) == [-1.5, -2.5, 3.5]


def test_aum_reference():
    logits = make_logits(7)

    def margins(rows, label):
        return np.mean([row[label] - max(np.delete(row, label)) for row in np.float64(rows)])

    (found,) = compute(["aum"], logits)
    np.testing.assert_allclose(found, each(margins, logits[:, 0]), rtol=1e-5, atol=1e-6)


# --- entropy


def test_entropy_by_hand():
    quarter = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    logits = [[LOG3, 0], [0, 0], [300, -300], [-1e30, 1e30], [1e4, 1e4]]
    found = compute_by_hand("entropy", [logits], [0, 0, 1, 0, 1])
    assert found == pytest.approx([quarter, math.log(2), 0, 0, math.log(2)], rel=1e-6, abs=1e-12)
    assert found[2] == found[3] == 0


def test_entropy_reference():
    logits = make_logits(3)

    def entropy(rows, label):
        return -sum(p * math.log(p) for p in softmax(rows[-1]) if p > 0)

    (found,) = compute(["entropy"], logits)
    np.testing.assert_allclose(found, each(entropy, logits[:, 1]), rtol=1e-4, atol=1e-6)
    assert (found >= 0).all() and (found <= math.log(4) + 1e-6).all()


# --- dyn_unc


def test_dyn_unc_by_hand():
    # The label's probability is 1/2, 3/4, 1/2: distances of 1/4 over sqrt 2; and 1/4 throughout.
    passes = [[[0, 0], [0, LOG3]], [[LOG3, 0], [0, LOG3]], [[0, 0], [0, LOG3]]]
    assert compute_by_hand("dyn_unc:window=2", passes, [0, 0]) == pytest.approx([0.25 / math.sqrt(2), 0])
    # All three at once: mean 7/12, squares 2 (1/12)^2 + (1/6)^2 = 1/24, over 2.
    assert compute_by_hand("dyn_unc:window=3", passes, [0, 0]) == pytest.approx([math.sqrt(1 / 48), 0])


@pytest.mark.parametrize("epochs", [10, 11, 23])
@pytest.mark.parametrize("phase", ["train", "probe"])
def test_dyn_unc_reference(epochs, phase):
    logits = make_logits(epochs)

    def spread(rows, label):
        p = [softmax(row)[label] for row in rows]
        windows = [p[first : first + 10] for first in range(len(p) - 9)]
        assert windows and all(len(window) == 10 for window in windows)
        return np.mean([math.sqrt(sum((x - np.mean(w)) ** 2 for x in w) / 9) for w in windows])

    (found,) = compute([f"dyn_unc:phase={phase}"], logits)
    np.testing.assert_allclose(found, each(spread, logits[:, int(phase == "probe")]), rtol=1e-5)
    assert (found > 0).all() and (found < 0.7072).all()


def test_dyn_unc_needs_as_many_epochs_as_its_window():
    assert SCORES.make("dyn_unc:window=4").recorders(4)
    with pytest.raises(UsageError, match=r"windows of 10 epochs, this run has 4; .*dyn_unc:window=4"):
        SCORES.make("dyn_unc").recorders(4)
    with pytest.raises(UsageError, match=r"this run has 1; train longer$"):
        SCORES.make("dyn_unc").recorders(1)
    with pytest.raises(UsageError, match="window=1 is too short"):
        SCORES.make("dyn_unc:window=1").recorders(9)


# --- random


def test_random_is_a_hash_of_keys_and_seed():
    (found,) = compute(["random"], make_logits(1), make_info(1, seed=7))
    assert found.tolist() == uniform(hash_keys(KEYS, draw_seed(7, hash_keys(KEYS)))).tolist()
    assert len(set(found)) == len(KEYS) and (found >= 0).all() and (found < 1).all()
    # Their order does not matter; which samples there are does, so that thinned data are thinned anew.
    info = make_info(1, seed=7)
    back = dataclasses.replace(info, keys=KEYS[::-1], target=info.target.flip(0))
    assert SCORES.make("random").compute(back).tolist() == found.tolist()[::-1]
    (half,) = compute(["random"], make_logits(1)[:, :, :9], make_info(1, seed=7, labels=LABELS[:9]))
    assert np.argsort(half).tolist() != np.argsort(found[:9]).tolist()
    (other,) = compute(["random"], make_logits(1), make_info(1, seed=8))
    assert not set(other) & set(found)


def test_random_is_uniform():
    info = make_info(1)
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]
    info = type(info)(keys, torch.zeros(4000, dtype=torch.int64), 2, 1, 0)
    counts = np.histogram(SCORES.make("random").compute(info).numpy(), 10, (0, 1))[0]
    # 400 expected in each tenth, with a standard deviation of 19.
    assert np.abs(counts - 400).max() < 80
