from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_data import SIZES

from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.observe import RunInfo

N = sum(SIZES)


def started(spec="rs2", visits=14, epochs=20, target=None):
    """A sampler over classes of 20, 12, 6 and 2."""
    target = torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES)) if target is None else target
    sampler = SAMPLERS.make(spec)
    sampler.start(RunInfo([f"k{row}" for row in range(len(target))], target, 4, epochs), visits)
    return sampler


def plans(sampler, epochs, first=1, seed=0):
    """The rows of some epochs, each drawn from a generator of its own, as in training."""
    numbers = range(first, first + epochs)
    return [sampler.plan(epoch, numpy_rng(seed, "sampler", epoch)).rows for epoch in numbers]


@pytest.mark.parametrize("visits", [2, 3, 7, 14, 19, 20, 21, 27, 39, 40])
def test_every_pass_visits_each_sample_once(visits):
    """Whatever the size of the pieces: every 40 visits in a row are all 40 samples."""
    found = plans(started(visits=visits, epochs=40), 40)
    assert [len(rows) for rows in found] == [visits] * 40
    assert all(len(set(rows.tolist())) == visits for rows in found)
    visited = np.concatenate(found)
    whole = visited[: len(visited) // N * N].reshape(-1, N)
    assert len(whole) == visits
    assert (np.sort(whole, 1) == np.arange(N)).all()
    # What is left over is a piece of a pass: nothing twice.
    assert len(set(visited[len(whole) * N :].tolist())) == len(visited) % N


def test_sizes_that_differ_by_one():
    """As where a budget does not divide evenly over the epochs."""
    sampler = started(visits=11, epochs=12)
    sampler.sizes = np.array([11, 10] * 6)
    visited = np.concatenate(plans(sampler, 12))
    assert len(visited) == 126
    assert (np.sort(visited[:120].reshape(3, N), 1) == np.arange(N)).all()


def test_passes_are_shuffled_and_differ():
    """The first one too: its first piece is not the head of the data set, which is of one class."""
    first, second = plans(started(visits=20), 2)
    assert first.tolist() == numpy_rng(0, "sampler", 1).permutation(N)[:20].tolist()
    assert set(first.tolist()) | set(second.tolist()) == set(range(N))
    passes = np.concatenate(plans(started(visits=20, epochs=40), 40)).reshape(20, N)
    assert len({tuple(one) for one in passes.tolist()}) == 20
    # In the mean over passes every sample stands near the middle, 19.5.
    place = np.argsort(np.concatenate([plans(started(visits=40), 1, seed=s) for s in range(200)]), 1)
    assert np.abs(place.mean(0) - 19.5).max() < 4 * 11.54 / 200**0.5


def test_other_seeds_give_other_pieces():
    one, same, other = (plans(started(), 6, seed=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not any(set(a.tolist()) == set(b.tolist()) for a, b in zip(one, other, strict=True))


def test_samples_that_cannot_be_used_are_not_visited():
    target = torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES))
    target[[0, 5, 21, 39]] = -1
    visited = np.concatenate(plans(started(visits=9, epochs=4, target=target), 4))
    assert sorted(visited.tolist()) == np.flatnonzero(target >= 0).tolist()
    drawn = np.concatenate(plans(started("rs2:replacement=true", 30, 9, target), 9))
    assert set(drawn.tolist()) == set(np.flatnonzero(target >= 0).tolist())


@pytest.mark.parametrize("stop", [1, 2, 3, 7])
def test_a_resumed_run_goes_on_with_what_is_left(stop):
    """After 2 epochs of 14 the pass has 12 left, fewer than the third epoch visits."""
    whole = started()
    expected = plans(whole, 9)
    broken = started()
    plans(broken, stop)
    resumed = started()
    resumed.state["left"] = broken.state["left"].clone()
    assert len(resumed.state["left"]) == -14 * stop % N
    found = plans(resumed, 9 - stop, first=stop + 1)
    assert all((a == b).all() for a, b in zip(found, expected[stop:], strict=True))
    fresh = plans(started(), 9 - stop, first=stop + 1)
    assert not all((a == b).all() for a, b in zip(fresh, expected[stop:], strict=True))


def test_starting_again_forgets_the_pass():
    sampler = started(epochs=3)
    expected = plans(sampler, 3)
    sampler.start(RunInfo([str(row) for row in range(N)], torch.zeros(N, dtype=torch.int64), 4, 3), 14)
    assert len(sampler.state["left"]) == 0
    assert all((a == b).all() for a, b in zip(plans(sampler, 3), expected, strict=True))


def test_draws_with_replacement_are_independent():
    """Without repeats inside an epoch, but whatever other epochs visited."""
    sampler = started("rs2:replacement=true", epochs=400)
    found = plans(sampler, 400)
    assert all(len(set(rows.tolist())) == 14 for rows in found)
    late = started("rs2:replacement=true", epochs=400).plan(9, numpy_rng(0, "sampler", 9)).rows
    assert late.tolist() == found[8].tolist()
    assert len(sampler.state["left"]) == 0
    # Two draws of 14 of 40 share 14 x 14 / 40 = 4.9 samples on average; pieces of a pass share none.
    shared = [len(np.intersect1d(a, b)) for a, b in pairwise(found)]
    assert np.mean(shared) == pytest.approx(4.9, abs=0.3)
    # Every sample is visited in 140 of 400 epochs on average, with a deviation of 9.5.
    count = np.bincount(np.concatenate(found), minlength=N)
    assert count.sum() == 5600 and np.abs(count - 140).max() < 4 * 9.54
    assert len(set(count.tolist())) > 1


def test_two_samples_an_epoch_are_the_least():
    assert [len(rows) for rows in plans(started(visits=2, epochs=3), 3)] == [2, 2, 2]
    with pytest.raises(
        BudgetError,
        match="rs2 visits at least 2 in every epoch",
    ):
        started(visits=1)


def test_a_parameter_that_is_none():
    with pytest.raises(UsageError, match="sampler rs2 has no parameter 'replace'; it has replacement"):
        SAMPLERS.make("rs2:replace=true")
    with pytest.raises(UsageError, match="replacement=maybe is neither true nor false"):
        SAMPLERS.make("rs2:replacement=maybe")
