"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np

from dprune_cli.metrics.confusion import Confusion, most_confused


def test_pairs_by_count_then_share_then_id():
    label = [0, 0, 0, 0, 1, 1, 2, 3]
    pred = [1, 1, 2, 0, 0, 1, 3, 2]
    assert most_confused(label, pred, 9) == [
        Confusion(0, 1, 2, 0.5),
        Confusion(2, 3, 1, 1.0),
        Confusion(3, 2, 1, 1.0),
        Confusion(1, 0, 1, 0.5),
        Confusion(0, 2, 1, 0.25),
    ]
    assert len(most_confused(label, pred, 2)) == 2


def test_a_prediction_may_be_a_class_without_samples():
    assert most_confused([0, 1], [7, 1], 3) == [Confusion(0, 7, 1, 1.0)]


def test_nothing_is_confused_where_all_is_right():
    assert most_confused([2, 1], [2, 1], 3) == [] and most_confused([], [], 3) == []


def test_many_classes_take_no_square_of_memory():
    label = np.arange(100_000)
    assert most_confused(label, (label + 1) % 100_000, 2)[0].share == 1.0
