from __future__ import annotations

import math

import numpy as np
import pytest

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.quotas.base import QUOTAS, quotas_for
from dprune_cli.quotas.loss import Loss


def spread(sizes, totals):
    """Losses that sum to `totals` by class, all below log 3."""
    return np.repeat(np.asarray(totals, float) / np.asarray(sizes), sizes)


@pytest.mark.parametrize(
    ("total", "quotas"),
    [
        (300, [128, 111, 61]),  # 128.346 111.151 60.503
        (700, [322, 278, 100]),  # 321.539 278.461 100: class 2 is kept whole
    ],
)
def test_theorem_3_1(make_given, total, quotas):
    losses = spread([600, 300, 100], [60, 90, 80])
    given = make_given([600, 300, 100], total, columns={"loss": losses})
    assert quotas_for(Loss(), given).quotas.tolist() == quotas


def test_losses_are_clipped_at_log_c_by_default(make_given):
    losses = [0.1, 50.0, np.inf, 0.2]
    given = make_given([2, 2], 2, columns={"loss": losses})
    tau = math.log(2)
    np.testing.assert_allclose(Loss().weights(given), np.sqrt([0.5 * (0.1 + tau), 0.5 * (tau + 0.2)]))
    np.testing.assert_allclose(Loss(clip=0.15).weights(given), np.sqrt([0.5 * 0.25, 0.5 * 0.3]))


def test_over_groups_log_c_is_that_of_the_classes(make_given):
    given = make_given([1, 1], 1, columns={"loss": [50.0, 1.0]}, classes=10)
    np.testing.assert_allclose(Loss().weights(given), np.sqrt([0.5 * math.log(10), 0.5 * 1.0]))


def test_no_loss_at_all_is_spread_by_size(make_given):
    result = quotas_for(Loss(), make_given([40, 20, 0], 30, columns={"loss": np.zeros(60)}))
    assert result.quotas.tolist() == [20, 10, 0]
    assert "every class has weight 0" in result.warnings[0]


def test_missing_losses(make_given):
    with pytest.raises(DataError, match="no column 'loss'"):
        quotas_for(Loss(), make_given([4], 2))
    with pytest.raises(DataError, match="null for 2 of 4 samples"):
        quotas_for(Loss(), make_given([4], 2, columns={"loss": [1, np.nan, np.nan, 1]}))


@pytest.mark.parametrize("clip", ["0", "-1", "nan", "inf"])
def test_clip_must_be_above_zero(clip):
    with pytest.raises(UsageError, match="clip="):
        QUOTAS.make(f"loss:clip={clip}")
