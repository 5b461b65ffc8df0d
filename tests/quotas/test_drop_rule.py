from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.quotas.base import QUOTAS, quotas_for
from dprune_cli.quotas.drop import Drop


def algorithm_1(sizes, recalls, total):
    """The loop as the paper prints it (Algorithm 1), with a guard for its division by zero."""
    error, active = 1 - np.asarray(recalls, float), set(range(len(sizes)))
    rest, density = float(total), np.zeros(len(sizes))
    while rest > 1e-9 and sum(sizes[k] * error[k] for k in active) > 0:
        scale = sum(sizes[k] * error[k] for k in active) / rest
        for k in sorted(active):
            step = error[k] / scale
            density[k] += step
            rest -= sizes[k] * step
            if density[k] > 1:
                active.remove(k)
                rest += sizes[k] * (density[k] - 1)
                density[k] = 1
    return density * sizes


@pytest.mark.parametrize(
    ("sizes", "recall", "total", "quotas"),
    [
        # Shares 42.857 85.714 171.429 300 and 133.33 266.67 500 500.
        ([500] * 4, (0.9, 0.8, 0.6, 0.3), 600, [43, 86, 171, 300]),
        ([500] * 4, (0.9, 0.8, 0.6, 0.3), 1400, [133, 267, 500, 500]),
        # Shares 956.25 573.75 500 100. The authors' code gives 509 1018 500 100.
        ([5000, 1500, 500, 100], (0.95, 0.9, 0.7, 0.4), 2130, [956, 574, 500, 100]),
        ([5000, 1500, 500, 100], (0.95, 0.9, 0.7, 0.4), 4970, [2870, 1500, 500, 100]),
    ],
)
def test_published_examples(make_given, sizes, recall, total, quotas):
    assert quotas_for(Drop(), make_given(sizes, total, recalls=[recall])).quotas.tolist() == quotas


def test_against_the_papers_loop(make_given):
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(1, 500, rng.integers(2, 8))
        recall = rng.integers(0, 100, len(sizes)) / 100
        total = int(rng.integers(1, sizes.sum() + 1))
        quotas = quotas_for(Drop(), make_given(sizes, total, recalls=[recall])).quotas
        assert quotas.sum() == total
        assert np.abs(quotas - algorithm_1(sizes, recall, total)).max() < 1 + 1e-6


def test_recalls_of_several_validations_are_averaged(make_given):
    one = make_given([300, 200, 100], 90, recalls=[(0.9, 0.5, 0.2), (0.7, 0.9, 0.4)])
    mean = make_given([300, 200, 100], 90, recalls=[(0.8, 0.7, 0.3)])
    assert quotas_for(Drop(), one).quotas.tolist() == quotas_for(Drop(), mean).quotas.tolist()
    np.testing.assert_allclose(quotas_for(Drop(), one).recall, [0.8, 0.7, 0.3])


def test_without_validation_the_way_there_is_named(make_given):
    with pytest.raises(UsageError, match=r"`dprune evaluate RUN VAL -o val.parquet` and give --val"):
        quotas_for(Drop(), make_given([10, 20], 6))


def test_a_class_absent_from_validation_is_named(make_given):
    given = make_given([100, 300, 50], 60, recalls=[(0.9, 0.5, 0.5)], validated=[100, 0, 100])
    with pytest.raises(DataError, match="no sample of 'class1'"):
        quotas_for(Drop(), given)


@pytest.mark.parametrize("smoothing", [0, 1])
def test_missing_class_may_take_the_mean_error(make_given, smoothing):
    rule = Drop(missing_class="mean", smoothing=smoothing)
    given = make_given([100, 300, 50], 60, recalls=[(0.9, 0.1, 0.5)], validated=[100, 0, 100])
    errors = (np.array([10, 50]) + smoothing) / (100 + 2 * smoothing)
    expected = np.array([100, 300, 50]) * [errors[0], errors.mean(), errors[1]]
    np.testing.assert_allclose(rule.weights(given), expected)
    result = quotas_for(rule, given)
    assert any("no sample of 'class1'; took the mean error" in line for line in result.warnings)
    assert np.isnan(result.recall[1])


def test_nothing_in_validation_at_all(make_given):
    given = make_given([100, 300], 60, recalls=[(0.9, 0.1)], validated=0)
    with pytest.raises(DataError, match="no sample of 'class0', 'class1'"):
        quotas_for(Drop(missing_class="mean"), given)


def test_a_class_without_candidates_needs_no_recall(make_given):
    given = make_given([100, 0, 50], 60, recalls=[(0.9, 0.5, 0.5)], validated=[100, 0, 100])
    result = quotas_for(Drop(), given)
    assert result.quotas.tolist() == [17, 0, 43]  # 10 : 25 of 60 is 17.14 : 42.86
    assert result.warnings == []


def test_perfect_recall_empties_a_class_and_says_so(make_given):
    result = quotas_for(Drop(), make_given([100, 100], 60, recalls=[(1.0, 0.5)]))
    assert result.quotas.tolist() == [0, 60]
    assert "no sample is kept of 'class0'" in result.warnings[0]
    assert quotas_for(
        Drop(), make_given([100, 100], 60, recalls=[(1.0, 0.5)]), minimum=5
    ).quotas.tolist() == [
        5,
        55,
    ]


def test_perfect_recall_everywhere(make_given):
    result = quotas_for(Drop(), make_given([100, 300], 60, recalls=[(1.0, 1.0)]))
    assert result.quotas.tolist() == [15, 45]
    assert "every class has weight 0" in result.warnings[0]


def test_smoothing_changes_the_quotas_of_small_validation_sets(make_given):
    given = make_given([100, 100], 60, recalls=[(1.0, 0.5)], validated=4)
    # e = 1/6 and 3/6
    assert quotas_for(Drop(smoothing=1), given).quotas.tolist() == [15, 45]


@pytest.mark.parametrize("spec", ["drop:smoothing=-1", "drop:smoothing=nan", "drop:smoothing=inf"])
def test_smoothing_must_be_a_number_of_at_least_zero(spec):
    with pytest.raises(UsageError, match="smoothing="):
        QUOTAS.make(spec)
