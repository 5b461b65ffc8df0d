from __future__ import annotations

import numpy as np

from dprune_cli.metrics.groups import group_accuracy, worst_group


def test_accuracy_by_group_is_not_by_class():
    label, pred = [0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0]
    found = group_accuracy(label, pred, [0, 0, 0, 2, 2, -1], 4)
    np.testing.assert_allclose(found, [2 / 3, np.nan, 0.5, np.nan])
    assert worst_group(found) == 2


def test_no_group_at_all():
    found = group_accuracy([0, 1], [0, 0], [-1, -1], 2)
    assert np.isnan(found).all()
    assert worst_group(found) is None
