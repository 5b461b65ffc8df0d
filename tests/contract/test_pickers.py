"""Every registered picker through the same checks."""

from __future__ import annotations

import dataclasses
import inspect
import sys

import numpy as np
import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.pickers.base import PICKERS, EndPicker, Picker
from dprune_cli.stages.methods import describe_methods

M = 41
LARGEST = np.finfo(float).max
NAMES = PICKERS.names()


def make_values(kind):
    """(M,) values as scores have them, and as they should not."""
    rng = np.random.default_rng(0)
    values = {
        "ties": rng.integers(0, 7, M).astype(float),
        "distinct": rng.normal(size=M),
        "negative": -rng.exponential(size=M) - 3,
        "equal": np.full(M, 0.1),
        "skewed": rng.exponential(size=M) ** 6,
        "infinite": np.where(np.arange(M) % 5 == 0, np.inf, rng.normal(size=M)),
        "both infinities": np.where(np.arange(M) % 2 == 0, np.inf, -np.inf),
        "some infinite": np.where(np.arange(M) % 9 == 0, -np.inf, rng.permutation(M)),
        "huge": rng.uniform(-1, 1, M) * LARGEST,
        "tiny": rng.integers(0, 9, M) * 5e-324,
        "far from zero": 1e15 + rng.integers(0, 9, M),
    }[kind]
    values.setflags(write=False)
    return values


KINDS = [
    "ties",
    "distinct",
    "negative",
    "equal",
    "skewed",
    "infinite",
    "both infinities",
    "some infinite",
    "huge",
    "tiny",
    "far from zero",
]


def make_hashes(seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, M, np.uint64)


def versions(name):
    """The picker for every end that it can keep."""
    picker = PICKERS.make(name)
    if not isinstance(picker, EndPicker):
        return [picker]
    found = [picker]
    for end in ("high", "low", "middle"):
        try:
            found.append(picker.oriented(end))
        except UsageError:
            assert end == "middle"
    return found


def pick(picker: Picker, values: np.ndarray, hashes: np.ndarray, count: int) -> np.ndarray:
    given = values if picker.needs_values else None
    return picker.pick(given, count, lambda rows: hashes[rows], len(hashes))


@pytest.mark.parametrize("name", NAMES)
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


def test_methods_shows_them_all():
    found = {method["name"]: method for method in describe_methods("picker")}
    assert list(found) == NAMES == ["random", "stratified", "top", "weighted"]
    assert (
        found["stratified"]["parameters"] == "bins=50, cutoff=0.0, cutoff_by=aum, cutoff_end=None (high, low)"
    )
    assert found["weighted"]["parameters"] == "end=None (high, low, middle), temperature=1.0"
    assert all(method["formula"] for method in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_any_count_is_exact_sorted_and_without_repeats(name, kind):
    values, hashes = make_values(kind), make_hashes()
    for picker in versions(name):
        for count in range(M + 1):
            found = pick(picker, values, hashes, count)
            assert found.dtype == np.int64 and found.shape == (count,)
            assert (np.diff(found) > 0).all()
            assert not count or (found[0] >= 0 and found[-1] < M)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_stratum_and_a_stratum_of_one(name):
    for picker in versions(name):
        assert pick(picker, np.empty(0), np.empty(0, np.uint64), 0).tolist() == []
        one = np.ones(1, np.uint64)
        for value in (0.0, -3.0, np.inf, -np.inf):
            assert pick(picker, np.array([value]), one, 1).tolist() == [0]
            assert pick(picker, np.array([value]), one, 0).tolist() == []


@pytest.mark.parametrize("name", NAMES)
def test_of_equal_values_every_picker_takes_the_smallest_hashes(name):
    hashes = make_hashes()
    for picker in versions(name):
        if getattr(picker, "end", None) == "middle":
            continue
        for count in (1, 10, 40):
            found = pick(picker, np.full(M, -2.5), hashes, count)
            assert found.tolist() == sorted(np.argsort(hashes)[:count].tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_samples_does_not_matter(name, kind):
    values, hashes = make_values(kind), make_hashes()
    for picker in versions(name):
        for count in (1, 13, 40):
            expected = set(hashes[pick(picker, values, hashes, count)].tolist())
            for seed in range(3):
                order = np.random.default_rng(seed).permutation(M)
                found = pick(picker, values[order], hashes[order], count)
                assert set(hashes[order][found].tolist()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_extreme_hashes(name):
    """The first and the last hash there is, where a logarithm could be infinite."""
    hashes = np.array([0, 2**64 - 1, 1, 2**63], np.uint64)
    for values in ([1.0, 2.0, 3.0, 4.0], [np.inf, -np.inf, np.inf, -np.inf], [-np.inf, np.inf, 0.0, 0.0]):
        for picker in versions(name):
            assert len(set(pick(picker, np.array(values), hashes, 3).tolist())) == 3


@pytest.mark.parametrize("name", ["random", "stratified", "weighted"])
def test_another_seed_picks_others(name):
    values = make_values("distinct")
    first, second = (pick(PICKERS.make(name), values, make_hashes(seed), 13).tolist() for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("name", [name for name in NAMES if PICKERS.get(name).needs_values])
def test_a_picker_of_values_needs_them(name):
    with pytest.raises(ValueError, match="values"):
        PICKERS.make(name).pick(None, 1, lambda rows: make_hashes()[rows], M)
