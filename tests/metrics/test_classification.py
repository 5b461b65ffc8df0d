from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.core.errors import DataError
from dprune_cli.metrics.classification import confusion_counts, error_counts, rates, recall, summarise

# Class 0: 3 of 4 right, class 1: 1 of 2, class 2: no sample, class 3: 3 of 3.
LABEL = [0, 0, 0, 0, 1, 1, 3, 3, 3]
PRED = [0, 0, 0, 2, 1, 0, 3, 3, 3]


def test_recall_of_unequal_classes_with_a_missing_and_a_perfect_one():
    np.testing.assert_array_equal(recall(LABEL, PRED, 4), [0.75, 0.5, np.nan, 1.0])


def test_summary_by_hand():
    found = summarise(LABEL, PRED, 4)
    assert found.accuracy == pytest.approx(7 / 9)
    assert (found.worst_class, found.worst_id, found.gap) == (0.5, 1, 0.5)
    # Population: divided by the 3 classes that have samples, not by 2 and not by 4.
    assert found.std == pytest.approx(np.sqrt(((0.75 - 0.75) ** 2 + 0.25**2 + 0.25**2) / 3))


def test_summary_against_a_loop():
    rng = np.random.default_rng(0)
    for _ in range(50):
        classes = int(rng.integers(1, 8))
        label, pred = rng.integers(0, classes, (2, 40))
        by_class = [np.mean(pred[label == k] == k) for k in range(classes) if (label == k).any()]
        found = summarise(label, pred, classes)
        assert found.accuracy == pytest.approx(np.mean(label == pred))
        assert found.worst_class == pytest.approx(min(by_class))
        assert found.gap == pytest.approx(max(by_class) - min(by_class))
        assert found.std == pytest.approx(np.std(by_class))
        assert found.recall[found.worst_id] == found.worst_class


def test_worst_of_equals_is_the_lowest_id():
    assert summarise([0, 1, 2, 2], [1, 0, 2, 2], 3).worst_id == 0


def test_a_prediction_outside_the_classes_is_an_error():
    errors, count = confusion_counts([0, 0, 1], [-1, 7, 1], 2)
    assert (errors.tolist(), count.tolist()) == ([2, 0], [2, 1])


@pytest.mark.parametrize("bad", [-1, 4])
def test_a_label_outside_the_classes_is_refused(bad):
    with pytest.raises(DataError, match=f"id {bad} is outside 0 to 3"):
        confusion_counts([0, bad], [0, 0], 4)


def test_nothing_to_summarise():
    with pytest.raises(DataError, match="no sample"):
        summarise([], [], 3)


def test_counts_of_no_samples():
    errors, count = error_counts([], [], 3)
    assert errors.tolist() == count.tolist() == [0, 0, 0]
    assert np.isnan(rates(errors, count)).all()
