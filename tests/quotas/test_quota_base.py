from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.allocation import name_some
from dprune_cli.quotas.base import QuotaRule, Validation, mean_errors, quotas_for


@dataclass(frozen=True)
class Fixed(QuotaRule):
    """Weights as they are given."""

    info = MethodInfo(name="fixed", title="Fixed", paper="none")
    values: tuple[float, ...]

    def weights(self, given):
        return np.array(self.values, float)


def test_recall_is_reported_whatever_the_rule(make_given):
    given = make_given([10, 20], 6, recalls=[(0.9, 0.5), (0.7, 0.5)])
    np.testing.assert_allclose(quotas_for(Fixed((1, 1)), given).recall, [0.8, 0.5])
    assert quotas_for(Fixed((1, 1)), make_given([10, 20], 6)).recall is None


def test_a_table_without_a_class_does_not_count_for_it():
    tables = [Validation(np.array([1, 0]), np.array([2, 0])), Validation(np.array([0, 3]), np.array([4, 4]))]
    np.testing.assert_allclose(mean_errors(tables), [0.25, 0.75])


def test_smoothing_by_hand():
    table = Validation(np.array([0, 5, 0]), np.array([2, 5, 0]))
    np.testing.assert_allclose(mean_errors([table], smoothing=0.5), [0.5 / 3, 5.5 / 6, np.nan])


def test_no_warning_where_nothing_happened(make_given):
    assert quotas_for(Fixed((1, 2, 5)), make_given([10, 20, 0], 9)).warnings == []


def test_an_emptied_class_is_reported_unless_it_has_no_candidates(make_given):
    result = quotas_for(Fixed((0, 1, 0)), make_given([10, 20, 0], 9))
    assert result.quotas.tolist() == [0, 9, 0]
    assert len(result.warnings) == 1
    assert "no sample is kept of 'class0';" in result.warnings[0]


def test_spreading_over_weight_zero_is_reported(make_given):
    result = quotas_for(Fixed((0, 1, 0)), make_given([10, 20, 40], 45))
    assert result.quotas.tolist() == [5, 20, 20]
    assert len(result.warnings) == 1
    assert "25 samples are spread" in result.warnings[0] and "'class0', 'class2'" in result.warnings[0]


def test_a_minimum_is_not_mistaken_for_spreading(make_given):
    result = quotas_for(Fixed((0, 1)), make_given([10, 20], 9), minimum=2)
    assert result.quotas.tolist() == [2, 7]
    assert result.warnings == []


def test_all_weights_zero(make_given):
    result = quotas_for(Fixed((0, 0, 7)), make_given([10, 20, 0], 15))
    assert result.quotas.tolist() == [5, 10, 0]
    assert "every class has weight 0" in result.warnings[0]


def test_budgets_that_cannot_be_met(make_given):
    with pytest.raises(BudgetError, match="there are only 30"):
        quotas_for(Fixed((1, 1)), make_given([10, 20], 31))
    with pytest.raises(BudgetError, match="--min-per-class 5"):
        quotas_for(Fixed((1, 1)), make_given([10, 20], 9), minimum=5)
    with pytest.raises(UsageError, match="-1 is negative"):
        quotas_for(Fixed((1, 1)), make_given([10, 20], 9), minimum=-1)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_rule_with_a_bug_is_found_out(make_given, bad):
    with pytest.raises(ValueError, match="negative or not finite"):
        quotas_for(Fixed((1, bad)), make_given([10, 20], 9))


def test_many_names_are_cut_short():
    names = [f"c{k}" for k in range(9)]
    assert name_some(np.ones(9, bool), names) == "'c0', 'c1', 'c2', 'c3', 'c4' and 4 more"
