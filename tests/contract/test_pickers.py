"""Every registered picker through the same checks."""

from __future__ import annotations

import dataclasses
import inspect
import sys

import numpy as np
import pytest

from dprune_cli.pickers.base import PICKERS, Picker

M = 41


def make_stratum() -> tuple[np.ndarray, np.ndarray]:
    """Values with many ties, and hashes."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 7, M).astype(float)
    hashes = rng.integers(0, 2**63, M).astype(np.uint64)
    values.setflags(write=False)
    return values, hashes


def pick(picker: Picker, values: np.ndarray, hashes: np.ndarray, count: int) -> np.ndarray:
    given = values if picker.needs_values else None
    return picker.pick(given, count, lambda rows: hashes[rows], len(hashes))


@pytest.mark.parametrize("name", PICKERS.names())
def test_it_says_what_it_is(name):
    cls = PICKERS.get(name)
    assert issubclass(cls, Picker)
    assert cls.info.name == name == cls.__module__.rpartition(".")[2]
    assert cls.info.title and cls.info.paper
    assert isinstance(cls.needs_values, bool)
    assert cls.__doc__ and sys.modules[cls.__module__].__doc__
    assert cls.__dataclass_params__.frozen
    for field in dataclasses.fields(cls):
        assert f"{field.name}:" in inspect.getdoc(cls), f"{name}:{field.name} is not described"


@pytest.mark.parametrize("name", PICKERS.names())
def test_any_count_is_exact_sorted_and_without_repeats(name):
    values, hashes = make_stratum()
    for count in range(M + 1):
        found = pick(PICKERS.make(name), values, hashes, count)
        assert found.dtype == np.int64 and found.shape == (count,)
        assert (np.diff(found) > 0).all()
        assert not count or (found[0] >= 0 and found[-1] < M)


@pytest.mark.parametrize("name", PICKERS.names())
def test_an_empty_stratum_and_a_stratum_of_equals(name):
    nothing = np.empty(0), np.empty(0, np.uint64)
    assert pick(PICKERS.make(name), *nothing, 0).tolist() == []
    _, hashes = make_stratum()
    assert len(pick(PICKERS.make(name), np.ones(M), hashes, 10)) == 10


@pytest.mark.parametrize("end", ["high", "low", "middle"])
@pytest.mark.parametrize("name", PICKERS.names())
def test_the_order_of_the_samples_does_not_matter(name, end):
    values, hashes = make_stratum()
    picker = PICKERS.make(name).oriented(end)
    for count in (1, 13, 40):
        expected = set(hashes[pick(picker, values, hashes, count)].tolist())
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(M)
            found = pick(picker, values[order], hashes[order], count)
            assert set(hashes[order][found].tolist()) == expected


@pytest.mark.parametrize("name", PICKERS.names())
def test_another_seed_may_pick_others_but_as_many(name):
    values, hashes = make_stratum()
    assert len(pick(PICKERS.make(name), values, hashes[::-1].copy(), 13)) == 13
