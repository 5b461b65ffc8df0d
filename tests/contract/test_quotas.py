"""Every registered quota rule through the same checks."""

from __future__ import annotations

import dataclasses
import inspect
import sys

import numpy as np
import pytest

from dprune_cli.core.errors import BudgetError
from dprune_cli.quotas.base import QUOTAS, QuotaInput, QuotaRule, Validation, quotas_for

SPECS = {"score": "score:by=ties", "longtail": "longtail:factor=20"}
# Unequal classes; one of a single sample, one without candidates and without validation samples.
SIZES = np.array([600, 300, 100, 0, 1])
# Class 1 has perfect recall.
VALIDATION = (
    Validation(np.array([5, 0, 20, 0, 1]), np.array([50, 40, 30, 0, 2])),
    Validation(np.array([9, 0, 10, 0, 0]), np.array([50, 40, 30, 0, 0])),
)


def make_rule(name: str) -> QuotaRule:
    return QUOTAS.make(SPECS.get(name, name))


def frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def make_given(total: int, order: np.ndarray | None = None) -> QuotaInput:
    """The same candidates, in the order given."""
    rng = np.random.default_rng(0)
    size = int(SIZES.sum())
    order = np.arange(size) if order is None else order
    hashes = rng.permutation(size).astype(np.uint64)[order]
    columns = {
        "loss": rng.exponential(0.5, size)[order],
        "ties": rng.integers(0, 6, size).astype(float)[order],
    }
    return QuotaInput(
        total=total,
        names=["a", "b", "c", "d", "e"],
        available=frozen(SIZES.copy()),
        stratum=frozen(np.repeat(np.arange(5), SIZES)[order]),
        validation=VALIDATION,
        column=lambda name: frozen(columns[name]),
        tie=lambda rows: hashes[rows],
        keep_first=lambda name: "high",
    )


@pytest.mark.parametrize("name", QUOTAS.names())
def test_it_says_what_it_is(name):
    cls = QUOTAS.get(name)
    assert issubclass(cls, QuotaRule)
    assert cls.info.name == name == cls.__module__.rpartition(".")[2]
    assert cls.info.title and cls.info.paper
    assert "As in the paper" in cls.__doc__ or "Departs from the paper" in cls.__doc__
    assert "https://" in sys.modules[cls.__module__].__doc__
    assert dataclasses.fields(cls) is not None and cls.__dataclass_params__.frozen
    for field in dataclasses.fields(cls):
        assert f"{field.name}:" in inspect.getdoc(cls), f"{name}:{field.name} is not described"


@pytest.mark.parametrize("minimum", [0, 1, 7])
@pytest.mark.parametrize("name", QUOTAS.names())
def test_totals_are_exact_within_caps_and_above_the_minimum(name, minimum):
    for total in (23, 100, 333, 640, 999, 1001):
        result = quotas_for(make_rule(name), make_given(total), minimum)
        assert result.quotas.dtype == np.int64
        assert result.quotas.sum() == total
        assert (result.quotas <= SIZES).all()
        assert (result.quotas >= np.minimum(minimum, SIZES)).all()
        np.testing.assert_allclose(result.recall, [0.86, 1.0, 0.5, np.nan, 0.5])


@pytest.mark.parametrize("name", QUOTAS.names())
def test_the_order_of_the_samples_does_not_matter(name):
    given = make_given(333)
    expected = quotas_for(make_rule(name), given)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(int(SIZES.sum()))
        found = quotas_for(make_rule(name), make_given(333, order))
        assert found.quotas.tolist() == expected.quotas.tolist()
        assert found.warnings == expected.warnings


@pytest.mark.parametrize("name", QUOTAS.names())
def test_weights_are_finite_and_not_negative(name):
    weights = make_rule(name).weights(make_given(100))
    assert weights.shape == SIZES.shape and weights.dtype == np.float64
    assert np.isfinite(weights).all() and (weights >= 0).all()


@pytest.mark.parametrize("name", QUOTAS.names())
def test_more_than_there_is_cannot_be_kept(name):
    with pytest.raises(BudgetError):
        quotas_for(make_rule(name), make_given(1002))
