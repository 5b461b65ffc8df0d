from __future__ import annotations

import numpy as np
import pytest

from dprune_cli.metrics.ranking import choose, first_hashes, positions


def slow_choose(values, count, hashes, end):
    """Sort everything, then cut."""
    rows = range(len(values))
    if end == "high":
        chosen = sorted(rows, key=lambda row: (-values[row], hashes[row]))[:count]
    else:
        start = 0 if end == "low" else (len(values) - count) // 2
        chosen = sorted(rows, key=lambda row: (values[row], hashes[row]))[start : start + count]
    return sorted(chosen)


@pytest.mark.parametrize("end", ["high", "low", "middle"])
@pytest.mark.parametrize("kinds", [1, 2, 4, 10**9])
def test_choose_against_a_sort(end, kinds):
    rng = np.random.default_rng(kinds)
    for size in (1, 2, 7, 30):
        values = rng.integers(0, kinds, size).astype(float)
        values[rng.random(size) < 0.1] = -np.inf
        hashes = rng.permutation(size).astype(np.uint64) + np.uint64(2**63)
        for count in range(size + 1):
            found = choose(values, count, lambda rows, h=hashes: h[rows], end)
            assert found.tolist() == slow_choose(values, count, hashes.tolist(), end)


def test_hashes_are_asked_only_for_rows_tied_at_the_cut():
    asked = []

    def tie(rows):
        asked.append(rows.tolist())
        return rows.astype(np.uint64)

    values = np.array([5.0, 3.0, 3.0, 1.0, 3.0, 0.0])
    assert choose(values, 2, tie).tolist() == [0, 1]
    assert asked == [[1, 2, 4]]
    asked.clear()
    choose(values, 4, tie), choose(values, 1, tie), choose(values, 0, tie), choose(values, 6, tie)
    assert asked == []


def test_equal_values_do_not_go_by_position():
    hashes = np.array([9, 8, 1, 7, 2], np.uint64)
    assert choose(np.zeros(5), 2, lambda rows: hashes[rows]).tolist() == [2, 4]
    assert choose(np.zeros(5), 2, lambda rows: hashes[rows], "low").tolist() == [2, 4]


def test_what_is_refused():
    def tie(rows):
        return rows.astype(np.uint64)

    with pytest.raises(ValueError, match="NaN"):
        choose(np.array([1.0, np.nan]), 1, tie)
    for count in (-1, 3):
        with pytest.raises(ValueError, match=f"{count} of 2"):
            choose(np.zeros(2), count, tie)
        with pytest.raises(ValueError, match=f"{count} of 2"):
            first_hashes(np.arange(2), count, tie)


def test_first_hashes_against_a_sort():
    rng = np.random.default_rng(0)
    rows = np.array([3, 8, 11, 40, 41])
    hashes = dict(zip(rows.tolist(), rng.permutation(5).tolist(), strict=True))
    for count in range(6):
        found = first_hashes(
            rows, count, lambda some: np.array([hashes[row] for row in some.tolist()], np.uint64)
        )
        assert found.tolist() == sorted(sorted(rows.tolist(), key=hashes.__getitem__)[:count])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("dprune_cli.metrics.ranking._BLOCK", 64)


@pytest.mark.parametrize("count", [1, 7, 500, 998, 999])
@pytest.mark.parametrize("bits", [64, 50, 5])
def test_many_hashes_are_never_needed_at_once(small_blocks, count, bits):
    """Of hashes that are even, uneven and mostly tied."""
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 1 << bits, 1000, np.uint64) if bits < 64 else rng.permutation(1000) * 2**54
    hashes = hashes.astype(np.uint64)
    rows = np.sort(rng.permutation(5000)[:1000])
    asked = []

    def tie(some):
        asked.append(len(some))
        return hashes[np.searchsorted(rows, some)]

    chosen = first_hashes(rows, count, tie)
    assert len(set(chosen.tolist())) == count and (np.diff(chosen) > 0).all()
    inside = np.isin(rows, chosen)
    assert hashes[inside].max() <= hashes[~inside].min()
    assert bits < 64 or max(asked) == 64


@pytest.mark.parametrize("end", ["high", "low", "middle"])
def test_narrow_values_are_ranked_like_wide_ones(end):
    rng = np.random.default_rng(0)
    values = rng.integers(-20, 20, 500).astype(np.float32) / np.float32(7)
    values[:3] = np.inf, -np.inf, -0.0
    hashes = rng.permutation(500).astype(np.uint64)
    for count in (0, 1, 77, 250, 499, 500):
        narrow = choose(values, count, hashes.__getitem__, end)
        assert narrow.tolist() == choose(values.astype(float), count, hashes.__getitem__, end).tolist()
        order = sorted(
            range(500), key=lambda row: (-values[row] if end == "high" else values[row], hashes[row])
        )
        first = (500 - count) // 2 if end == "middle" else 0
        assert narrow.tolist() == sorted(order[first : first + count])


def test_where_a_mask_is_true(small_blocks):
    mask = np.random.default_rng(0).random(1000) < 0.3
    np.testing.assert_array_equal(positions(mask), np.flatnonzero(mask))
    assert positions(mask).dtype == np.uint32
