from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.quotas.balanced import Balanced
from dprune_cli.quotas.base import QUOTAS, quotas_for
from dprune_cli.quotas.longtail import Longtail
from dprune_cli.quotas.uniform import Uniform


def test_uniform_keeps_the_same_density(make_given):
    quotas = quotas_for(Uniform(), make_given([600, 300, 0, 90], 330)).quotas
    assert quotas.tolist() == [200, 100, 0, 30]


def test_balanced_keeps_the_same_count_as_far_as_there_is(make_given):
    assert quotas_for(Balanced(), make_given([600, 300, 0, 90], 210)).quotas.tolist() == [70, 70, 0, 70]
    # 90 is all that the last has; the others share the remaining 300.
    assert quotas_for(Balanced(), make_given([600, 300, 0, 90], 390)).quotas.tolist() == [150, 150, 0, 90]


def test_longtail_falls_geometrically(make_given):
    # 100 : 10 : 1
    quotas = quotas_for(Longtail(factor=100), make_given([500, 500, 500], 222)).quotas
    assert quotas.tolist() == [200, 20, 2]


def test_longtail_shares_what_a_small_head_leaves(make_given):
    # The head has only 50; the other 110 go 10 : 1.
    quotas = quotas_for(Longtail(factor=100), make_given([50, 500, 500], 160)).quotas
    assert quotas.tolist() == [50, 100, 10]


def test_longtail_of_factor_1_is_balanced_and_of_one_class_is_defined(make_given):
    given = make_given([60, 30, 9], 50)
    assert (
        quotas_for(Longtail(factor=1), given).quotas.tolist() == quotas_for(Balanced(), given).quotas.tolist()
    )
    np.testing.assert_array_equal(Longtail(factor=20).weights(make_given([60], 5)), [1.0])


@pytest.mark.parametrize("factor", ["0.5", "0", "-3", "nan", "inf"])
def test_longtail_factor_is_at_least_1(factor):
    with pytest.raises(UsageError, match="factor="):
        QUOTAS.make(f"longtail:factor={factor}")


def test_longtail_needs_a_factor():
    with pytest.raises(UsageError, match="needs factor"):
        QUOTAS.make("longtail")
