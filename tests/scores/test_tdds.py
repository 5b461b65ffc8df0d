from __future__ import annotations

import numpy as np
import pytest
from toy_trajectory import KEYS, LABELS, compute, compute_by_hand, make_logits

from dprune_cli.core.errors import UsageError
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import Phase

EPOCHS = 12
PATH = (0.2, 0.5, 0.6, 0.9)


def watched(spec, epochs):
    (recorder,) = SCORES.make(spec).recorders(epochs).values()
    return recorder


def reference(logits, window, last, decay, authors):
    """(N,) from the training visits (E, N, C), each sample by itself."""
    z = logits[:last].astype(np.float64)
    p = np.exp(z - z.max(2, keepdims=True))
    p /= p.sum(2, keepdims=True)
    logs = np.log(p + 1e-8) if authors else np.log(p)
    terms = p[1:] * np.diff(logs, axis=0)
    d = np.abs(terms).sum(2) if authors else terms.sum(2)
    found = np.zeros(logits.shape[1])
    for first in range(last - window + 1):
        part = d[first : first + window - 1]
        spread = ((part - part.mean(0)) ** 2).sum(0)
        found = decay * (np.sqrt(spread) if authors else spread) + (1 - decay) * found
    return found


@pytest.mark.parametrize(("variant", "expected"), [("paper", 0.02097925), ("authors", 0.22550527)])
def test_by_hand(variant, expected):
    passes = [np.log([[p, 1 - p], [0.5, 0.5]]) for p in PATH]
    found = compute_by_hand(f"tdds:window=3,epochs=4,variant={variant}", passes, [0, 1])
    assert found == pytest.approx([expected, 0], rel=1e-6)
    (first, _) = compute_by_hand(f"tdds:window=3,epochs=3,variant={variant}", passes, [0, 1])
    assert first == pytest.approx(0.9 * {"paper": 0.02060613, "authors": 0.34966205}[variant], rel=1e-6)


@pytest.mark.parametrize("variant", ["paper", "authors"])
@pytest.mark.parametrize(("window", "last", "decay"), [(3, 12, 0.9), (5, 5, 0.9), (4, 9, 0.5), (12, 12, 1.0)])
def test_against_a_slow_reference(variant, window, last, decay):
    logits = make_logits(EPOCHS)
    spec = f"tdds:window={window},epochs={last},decay={decay},variant={variant}"
    (found,) = compute([spec], logits, size=5, seed=3)
    expected = reference(logits[:, 0], window, last, decay, variant == "authors")
    assert found == pytest.approx(expected, rel=1e-5)
    assert found.shape == LABELS.shape == (len(KEYS),)


def test_the_clean_passes_and_later_epochs_do_not_matter():
    logits = make_logits(EPOCHS)
    (expected,) = compute(["tdds:window=3,epochs=5"], logits)
    other = logits.copy()
    other[:, 1] = 0
    other[5:] = 7
    assert np.array_equal(compute(["tdds:window=3,epochs=5"], other)[0], expected)


@pytest.mark.parametrize(
    ("spec", "schedule", "last"),
    [
        ("tdds", 200, 60),
        ("tdds", 101, 31),
        ("tdds", 30, 10),
        ("tdds", 10, 10),
        ("tdds:window=20", 60, 20),
        ("tdds:window=3", 10, 3),
        ("tdds:window=3", 11, 4),
        ("tdds:epochs=90", 200, 90),
        ("tdds:epochs=10", 10, 10),
    ],
)
def test_the_epochs_it_watches(spec, schedule, last):
    recorder = watched(spec, schedule)
    assert recorder.epochs == frozenset(range(1, last + 1)) and recorder.phase is Phase.TRAIN


@pytest.mark.parametrize(
    ("spec", "schedule", "message"),
    [
        ("tdds", 9, "windows of 10 epochs, this run has 9; train longer or give -m tdds:window=9"),
        ("tdds", 2, "this run has 2; train longer$"),
        ("tdds:epochs=9", 200, "tdds:epochs=9 is shorter than its windows of 10"),
        ("tdds:epochs=0", 200, "tdds:epochs=0 is shorter"),
        ("tdds:epochs=31", 30, "tdds:epochs=31 lies outside the schedule of 30"),
        ("tdds:window=2", 30, "tdds:window=2 is too short for two differences"),
        ("tdds:decay=0", 30, r"tdds:decay=0.0 is not in \(0, 1\]"),
        ("tdds:decay=1.5", 30, "tdds:decay=1.5"),
        ("tdds:decay=nan", 30, "tdds:decay=nan"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(spec, schedule, message):
    with pytest.raises(UsageError, match=message):
        SCORES.make(spec).recorders(schedule)


def test_an_unknown_variant_is_refused():
    with pytest.raises(UsageError, match="variant=other is none of paper, authors"):
        SCORES.make("tdds:variant=other")


def test_unsteady_samples_score_above_steady_ones():
    # Rows: learned at once, never learned but steady, learned in jumps.
    jumps = [0.1, 0.6, 0.2, 0.9]
    passes = [[[9, 0], [-2, 0], [np.log(p / (1 - p)), 0]] for p in jumps]
    for variant in ("paper", "authors"):
        learned, steady, unsteady = compute_by_hand(
            f"tdds:window=3,epochs=4,variant={variant}", passes, [0, 0, 1]
        )
        assert learned == steady == 0 < unsteady
