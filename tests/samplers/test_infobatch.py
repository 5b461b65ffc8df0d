from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from toy_samplers import draw_losses, drive, show_losses, start_sampler

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.seeds import numpy_rng

N = 40


def seen(spec="infobatch", visits=None, losses=None, **options):
    """A sampler whose first epoch is over."""
    sampler = start_sampler(spec, visits, **options)
    plan = sampler.plan(1, numpy_rng(0))
    show_losses(sampler, plan.rows, np.asarray(losses)[plan.rows])
    return sampler


def factors(plan, samples=N):
    """(N,) what an epoch multiplies every sample's loss by, 0 for those it leaves out."""
    found = np.zeros(samples)
    found[plan.rows] = 1 if plan.scale is None else plan.scale.numpy()[plan.rows]
    return found


def test_a_pruning_epoch_worked_by_hand():
    # The mean is 4. Of the three below it 1.5, rounded to 2, are left out, and the third stands for all.
    sampler = seen(losses=[1.0, 10.0, 2.0, 3.0], sizes=(3, 1))
    for draw in range(10):
        plan = sampler.plan(2, numpy_rng(draw))
        assert len(plan.rows) == 2 and 1 in plan.rows
        assert sorted(factors(plan, 4)) == [0, 0, 1, 3] and factors(plan, 4)[1] == 1
        assert plan.scale.dtype == torch.float32


@pytest.mark.parametrize(
    ("r", "low", "left"),
    [(0.5, 4, 2), (0.5, 5, 2), (0.3, 5, 3), (0.25, 8, 6), (0.99, 3, 1), (0, 3, 3), (0.5, 1, 1)],
)
def test_a_share_of_the_low_ones_is_left_out_but_never_all(r, low, left):
    losses = np.where(np.arange(N) < low, 0.1, 2.0)
    plan = seen(f"infobatch:r={r}", losses=losses).plan(2, numpy_rng(0))
    assert len(plan.rows) == N - low + left
    kept = np.sort(plan.rows)[:left]
    assert (kept < low).all()
    assert factors(plan)[kept] == pytest.approx(low / left)
    assert (factors(plan)[low:] == 1).all()


@pytest.mark.parametrize(
    ("spec", "visits"), [("infobatch", None), ("infobatch:r=0.9", None), ("infobatch", 30), ("infobatch", 24)]
)
def test_the_expected_weighted_sum_is_the_full_sum(spec, visits):
    losses = draw_losses(1)[0]
    value = np.random.default_rng(1).normal(3, 1, N)
    sampler = seen(spec, visits, losses, epochs=8)
    sums = [float(factors(sampler.plan(2, numpy_rng(draw))) @ value) for draw in range(4000)]
    error = np.std(sums) / math.sqrt(len(sums))
    assert error > 0
    assert np.mean(sums) == pytest.approx(value.sum(), abs=4 * error)


@pytest.mark.parametrize("visits", [None, 22, 31, 40])
def test_the_weights_of_every_epoch_sum_to_all_samples(visits):
    for plan in drive(start_sampler("infobatch", visits, epochs=16), draw_losses(16)):
        assert len(np.unique(plan.rows)) == len(plan.rows)
        assert factors(plan).sum() == pytest.approx(N, rel=1e-6)


def test_the_low_ones_are_those_below_the_mean_of_what_they_lost_last():
    """Against a slow reference that remembers losses in a dictionary."""
    losses, known = draw_losses(12), {}
    for epoch, plan in enumerate(drive(start_sampler("infobatch", epochs=12), losses), 1):
        if 1 < epoch <= 10:
            mean = sum(map(float, known.values())) / N
            low = {row for row in range(N) if known[row] < mean}
            left = set(plan.rows) & low
            assert set(plan.rows) - low == set(range(N)) - low
            assert len(low) - len(left) == math.floor(len(low) / 2 + 0.5)
            expected = [len(low) / len(left) if row in low else 1 for row in plan.rows]
            assert factors(plan)[plan.rows] == pytest.approx(expected)
        known |= {int(row): losses[epoch - 1, row] for row in plan.rows}


@pytest.mark.parametrize("visits", [None, 36])
@pytest.mark.parametrize(
    ("delta", "epochs", "last"),
    # In floating point 0.29 * 100 is below 29.
    [("0.875", 8, 7), ("0.7", 10, 7), ("0.84", 6, 5), ("1", 3, 3), ("0.29", 100, 29)],
)
def test_the_first_epoch_and_the_tail_are_whole(visits, delta, epochs, last):
    sampler = start_sampler(f"infobatch:delta={delta}", visits, epochs=epochs)
    plans = drive(sampler, draw_losses(epochs))
    pruned = [epoch for epoch, plan in enumerate(plans, 1) if len(plan.rows) < N]
    assert pruned == list(range(2, last + 1))
    assert all((plan.scale is None) == (len(plan.rows) == N) for plan in plans)


@pytest.mark.parametrize(("delta", "epochs"), [("0.1", 5), ("0.875", 1), ("0.5", 2)])
def test_a_run_too_short_to_prune_is_whole(delta, epochs):
    plans = drive(start_sampler(f"infobatch:delta={delta}", epochs=epochs), draw_losses(epochs))
    assert [(len(plan.rows), plan.scale) for plan in plans] == [(N, None)] * epochs
    with pytest.raises(BudgetError, match=r"give --keep 1\.000 or more, or a larger delta"):
        start_sampler(f"infobatch:delta={delta}", 39, epochs=epochs)


@pytest.mark.parametrize("loss", [0.1, 1 / 3, 2.7182818])
def test_equal_losses_prune_nothing(loss):
    """The mean of equal numbers must not come out above them."""
    sampler = seen(losses=np.full(9999, loss), sizes=(9000, 999))
    plan = sampler.plan(2, numpy_rng(0))
    assert len(plan.rows) == 9999 and plan.scale is None


def test_a_budget_is_met_exactly_whatever_the_losses():
    for losses in (
        draw_losses(16),
        np.ones((16, N)),
        np.repeat(np.where(np.arange(N) < 2, 0.0, 1.0)[None], 16, 0),
    ):
        sampler = start_sampler("infobatch", 23, epochs=16)
        plans = drive(sampler, losses)
        # 14 of 16 epochs prune: 1 and the two after them are whole, and 248 visits are left for 13.
        assert [len(plan.rows) for plan in plans] == [40, *[20] * 1, *[19] * 12, 40, 40]
        assert sampler.sizes.sum() == sum(len(plan.rows) for plan in plans) == 23 * 16


def test_a_budget_widens_what_is_low_to_the_lowest_losses():
    # Two samples are below the mean; to leave out 18 takes 20 that may be.
    losses = np.concatenate([[0.0, 0.0], np.linspace(90, 100, N - 2)])
    sampler = seen("infobatch:delta=1", 31, losses, epochs=2)
    assert sampler.sizes.tolist() == [40, 22]
    gone = set()
    for draw in range(200):
        plan = sampler.plan(2, numpy_rng(draw))
        gone |= set(range(N)) - set(plan.rows)
        assert np.unique(factors(plan)).tolist() == [0, 1, 10]
    assert gone == set(range(20))


def test_a_budget_leaves_enough_low_ones_as_they_are():
    losses = np.where(np.arange(N) < 30, 0.1, 2.0)
    plan = seen("infobatch:delta=1", 31, losses, epochs=2).plan(2, numpy_rng(0))
    assert sorted(np.unique(factors(plan))) == [0, 1, 2.5]
    assert (factors(plan)[30:] == 1).all()


def test_ties_at_the_widened_cut_are_broken_at_random():
    sampler = seen("infobatch:delta=1", 35, np.ones(N), epochs=2)
    times = np.zeros(N)
    for draw in range(2000):
        times += factors(sampler.plan(2, numpy_rng(draw))) == 0
    # 10 of 40 are left out in every draw.
    assert times / 2000 == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 2000))


def test_losses_of_what_was_left_out_are_kept():
    losses = draw_losses(2)
    sampler = start_sampler("infobatch", epochs=3)
    _, plan = drive(sampler, losses)
    out = np.setdiff1d(np.arange(N), plan.rows)
    assert len(out) > 0
    assert sampler.state["loss"].numpy()[out].tolist() == losses[0, out].tolist()
    assert sampler.state["loss"].numpy()[plan.rows].tolist() == losses[1, plan.rows].tolist()


def test_samples_without_a_loss_are_never_left_out():
    sampler = start_sampler("infobatch:r=0.9")
    show_losses(sampler, np.arange(10, N), 1.0)
    for draw in range(20):
        rows = set(sampler.plan(2, numpy_rng(draw)).rows)
        assert set(range(10)) <= rows and len(rows) == N - 27


def test_rows_that_cannot_be_used_have_no_part_in_the_mean():
    losses = np.where(np.arange(N) < 8, 0.1, 2.0)
    plan = seen(losses=losses, bad=(0, 39)).plan(2, numpy_rng(0))
    # 7 of the low samples are left, and 3.5 of them, rounded to 4, go.
    assert len(plan.rows) == 34 and not {0, 39} & set(plan.rows)
    assert factors(plan).sum() == pytest.approx(38)


def test_without_a_budget_the_sizes_are_the_most_there_can_be():
    assert start_sampler("infobatch", bad=(3,)).sizes.tolist() == [39] * 4


@pytest.mark.parametrize(("delta", "epochs"), [(0.875, 8), (0.84, 6), (1, 5), (0.3, 30)])
def test_the_advised_budget_is_enough_and_the_least(delta, epochs):
    for samples in (40, 97, 1000):
        sizes, spec = (samples - 10, 10), f"infobatch:delta={delta}"
        with pytest.raises(BudgetError, match=f"infobatch visits all {samples} samples") as error:
            start_sampler(spec, 2, sizes, epochs)
        assert str(error.value).endswith(", or a larger delta")
        enough = parse_budget(re.search(r"--keep (\d\.\d+)", str(error.value))[1]).count(samples)
        sampler = start_sampler(spec, enough, sizes, epochs)
        assert sampler.sizes.min() * 10 >= samples
        with pytest.raises(BudgetError):
            start_sampler(spec, enough - 1, sizes, epochs)


def test_a_budget_finds_r_by_itself():
    with pytest.raises(UsageError, match=r"infobatch:r=0\.5 does not go with --keep"):
        start_sampler("infobatch:r=0.5", 30)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("infobatch:r=1", r"infobatch:r=1\.0 is not at least 0 and below 1"),
        ("infobatch:r=-0.1", r"infobatch:r=-0\.1 is not"),
        ("infobatch:r=nan", "infobatch:r=nan is not"),
        ("infobatch:delta=0", r"infobatch:delta=0\.0 is not above 0 and at most 1"),
        ("infobatch:delta=1.1", r"infobatch:delta=1\.1 is not"),
        ("infobatch:delta=nan", "infobatch:delta=nan is not"),
    ],
)
def test_parameters_out_of_range(spec, why):
    with pytest.raises(UsageError, match=why):
        start_sampler(spec)
