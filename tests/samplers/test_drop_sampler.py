from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_data import SIZES, VALIDATION_SIZES
from toy_fits import make_config, make_fit, make_validation, same, weights, without_seconds

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.observe import Phase, RunInfo, observe
from dprune_cli.train.recorders import TensorRecorder

# Recalls of 0.95, 0.9, 0.7 and 0.4.
PUBLISHED = (5000, 1500, 500, 100)
COUNT, ERRORS = (100, 50, 20, 10), (5, 5, 6, 6)


def describe(sizes, validated, epochs=4, **info):
    """A run over classes of these sizes, one after the other, in training and in validation data."""
    target, seen = (np.repeat(np.arange(len(given)), given) for given in (sizes, validated))
    keys = [str(row) for row in range(len(target))]
    known = {"validation": len(seen), "validation_target": torch.from_numpy(seen)}
    return RunInfo(keys, torch.from_numpy(target), len(sizes), epochs, **{**known, **info})


def started(spec="drop:period=1", sizes=PUBLISHED, validated=COUNT, visits=2130, **info):
    sampler = SAMPLERS.make(spec)
    sampler.start(describe(sizes, validated, **info), visits)
    return sampler


def show(sampler, epoch, errors, validated=COUNT, size=7):
    """The validation pass after an epoch, batch by batch; the first few of every class are wrong."""
    target = torch.repeat_interleave(torch.arange(len(validated)), torch.tensor(validated))
    wrong = torch.cat([torch.arange(n) < e for n, e in zip(validated, errors, strict=True)])
    show_wrong(sampler, epoch, target, wrong, size)


def show_wrong(sampler, epoch, target, wrong, size=7):
    predicted = (target + wrong.long()) % (int(target.max()) + 2)
    logits = torch.nn.functional.one_hot(predicted, int(target.max()) + 2).float()
    for rows in torch.randperm(len(target), generator=torch.Generator().manual_seed(epoch)).split(size):
        sampler.update(observe(Phase.VALIDATION, epoch, rows, target[rows], logits[rows]))


def counts(plan, sizes=PUBLISHED):
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes)[plan.rows], minlength=len(sizes)).tolist()


def reference(sizes, errors, budget):
    """The paper's loop, by size where it would divide by zero; then largest remainders."""
    sizes, density = np.array(sizes), np.zeros(len(sizes))
    errors = np.where(sizes > 0, errors, 0.0)
    active, rest = {k for k in range(len(sizes)) if errors[k]}, float(budget)
    while rest > 1e-9 and active:
        scale = sum(sizes[k] * errors[k] for k in active) / rest
        for k in sorted(active):
            density[k] += errors[k] / scale
            rest -= sizes[k] * errors[k] / scale
        for k in sorted(active):
            if density[k] > 1:
                active.remove(k)
                rest += sizes[k] * (density[k] - 1)
                density[k] = 1
    if rest > 1e-9:
        density[density == 0] = rest / sizes[density == 0].sum()
    shares = np.round(density * sizes, 6)
    found = np.floor(shares).astype(int)
    for k in np.argsort(found - shares, kind="stable")[: budget - found.sum()]:
        found[k] += 1
    return found.tolist()


@pytest.mark.parametrize(
    ("sizes", "validated", "errors", "visits", "expected"),
    [
        # Shares 956.25 573.75 500 100, and with the last three whole 2870.
        (PUBLISHED, COUNT, ERRORS, 2130, [956, 574, 500, 100]),
        (PUBLISHED, COUNT, ERRORS, 4970, [2870, 1500, 500, 100]),
        # Shares 42.857 85.714 171.429 300 and 133.33 266.67 500 500.
        ((500,) * 4, (10,) * 4, (1, 2, 4, 7), 600, [43, 86, 171, 300]),
        ((500,) * 4, (10,) * 4, (1, 2, 4, 7), 1400, [133, 267, 500, 500]),
        # A class with recall 1 gets what the others have no room for.
        ((30, 20, 10), (5, 5, 5), (0, 2, 1), 26, [0, 20, 6]),
        ((30, 20, 10), (5, 5, 5), (0, 2, 1), 40, [10, 20, 10]),
        # Nothing is wrong: by size.
        ((30, 20, 10), (5, 5, 5), (0, 0, 0), 30, [15, 10, 5]),
        # All of it.
        ((30, 20, 10), (5, 5, 5), (0, 2, 1), 60, [30, 20, 10]),
    ],
)
def test_budgets_worked_by_hand(sizes, validated, errors, visits, expected):
    sampler = started("drop:period=1", sizes, validated, visits)
    show(sampler, 1, errors, validated)
    plan = sampler.plan(2, numpy_rng(0))
    assert counts(plan, sizes) == expected and len(np.unique(plan.rows)) == visits and plan.scale is None
    assert reference(sizes, np.array(errors) / validated, visits) == expected


def test_before_the_first_measurement_budgets_go_by_class_size():
    sampler = started(sizes=(500, 300, 150, 50), visits=100)
    assert counts(sampler.plan(1, numpy_rng(0)), (500, 300, 150, 50)) == [50, 30, 15, 5]


def test_only_every_period_th_epoch_is_measured_and_replaces_the_last():
    sampler = started("drop:period=3")
    by_size = [1500, 450, 150, 30]
    for epoch, errors, expected in (
        (1, (50, 0, 0, 0), by_size),
        (2, (0, 50, 0, 0), by_size),
        (3, ERRORS, [956, 574, 500, 100]),
        (4, (100, 0, 0, 0), [956, 574, 500, 100]),
        (5, (0, 0, 0, 10), [956, 574, 500, 100]),
        (6, (50, 50, 20, 10), reference(PUBLISHED, [0.5, 1, 1, 1], 2130)),
    ):
        show(sampler, epoch, errors)
        assert counts(sampler.plan(epoch % 4 + 1, numpy_rng(epoch))) == expected
    assert sampler.state["count"].tolist() == list(COUNT) and sampler.state["epoch"] == 6
    assert sampler.state["errors"].tolist() == [50, 50, 20, 10]


@pytest.mark.parametrize(("spec", "last"), [("drop", 12), ("drop:period=5", 10)])
def test_only_every_period_is_measured(spec, last):
    sampler = started(spec, epochs=20)
    for epoch in range(1, 13):
        show(sampler, epoch, [epoch, 1, 1, 1])
    assert sampler.state["epoch"] == last and sampler.state["errors"].tolist() == [last, 1, 1, 1]


def test_what_is_drawn_is_uniform_within_a_class_and_new_in_every_epoch():
    sampler, times = started(sizes=(20, 10), validated=(4, 4), visits=12, epochs=2), np.zeros(30)
    show(sampler, 1, (1, 2), (4, 4))
    plans = [sampler.plan(1, numpy_rng(draw)).rows for draw in range(2000)]
    for rows in plans:
        times[rows] += 1
    # N e = 5 and 5, so 6 of 20 and 6 of 10.
    expected = np.repeat([0.3, 0.6], [20, 10])
    assert np.abs(times / 2000 - expected).max() < 5 * np.sqrt(0.25 / 2000)
    assert len({tuple(sorted(rows)) for rows in plans}) > 1900
    assert np.array_equal(sampler.plan(1, numpy_rng(7)).rows, plans[7])


def test_smoothing_adds_right_and_wrong_predictions():
    sampler = started("drop:period=1,smoothing=2", (60, 30, 10), (4, 1, 16), 20)
    show(sampler, 1, (0, 1, 6), (4, 1, 16))
    # 2 / 8, 3 / 5 and 8 / 20; so N e = 15, 18, 4.
    assert counts(sampler.plan(2, numpy_rng(0)), (60, 30, 10)) == reference(
        (60, 30, 10), [0.25, 0.6, 0.4], 20
    )
    assert counts(sampler.plan(2, numpy_rng(0)), (60, 30, 10)) == [8, 10, 2]


def test_a_class_without_validation_samples_is_refused_before_training():
    with pytest.raises(
        DataError, match=r"validation has no sample of 'bee', 'dog'; add some, or give drop:m"
    ):
        started(validated=(9, 0, 4, 0), class_names=["ant", "bee", "cat", "dog"])
    with pytest.raises(DataError, match="no sample of '3'"):
        started(validated=(9, 1, 4, 0))
    # Samples that could not be read do not count.
    with pytest.raises(DataError, match="no sample of '1'"):
        started(sizes=(30, 10), validated=(2, 1), visits=9, validation_target=torch.tensor([0, 0, -1]))


def test_or_it_has_the_mean_error_of_the_others():
    sizes, validated = (60, 30, 10), (4, 0, 4)
    sampler = started("drop:period=1,missing_class=mean", sizes, validated, 20)
    show(sampler, 1, (1, 0, 3), validated)
    # N e = 60 / 4, 30 / 2 and 30 / 4: shares 8, 8, 4.
    assert counts(sampler.plan(2, numpy_rng(0)), sizes) == [8, 8, 4]


def test_a_class_without_training_samples_matters_to_nobody():
    sizes, validated = (60, 0, 0, 20), (4, 0, 4, 4)
    sampler = started("drop:period=1", sizes, validated, 20)
    show(sampler, 1, (1, 0, 4, 3), validated)
    assert counts(sampler.plan(2, numpy_rng(0)), sizes) == [10, 0, 0, 10]


def test_samples_that_cannot_be_used_are_not_visited():
    run = describe((6, 4), (4, 4))
    bad = [0, 3, 9]
    run.target[bad] = -1
    sampler = SAMPLERS.make("drop:period=1")
    sampler.start(run, 7)
    show(sampler, 1, (1, 3), (4, 4))
    assert set(sampler.plan(2, numpy_rng(0)).rows) == set(range(10)) - set(bad)


# Of 40 samples 30 are on land, 10 on water.
GROUP = torch.tensor([0] * 30 + [1] * 10)
PLACES = {"group": GROUP, "group_names": ["land", "water"]}


def test_groups_have_budgets_of_their_own():
    seen = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, -1, -1, -1, -1])
    sampler = started("drop:period=1,by=group", SIZES, VALIDATION_SIZES, 20, validation_group=seen, **PLACES)
    assert np.bincount(GROUP[sampler.plan(1, numpy_rng(0)).rows]).tolist() == [15, 5]
    assert sampler.facts() == {"group_visited": [15, 5], "group_error": [1, 1]}
    # One error in four on land, three in four on water, all wrong where the group is not known.
    wrong = torch.tensor([1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]).bool()
    target = torch.repeat_interleave(torch.arange(4), torch.tensor(VALIDATION_SIZES))
    show_wrong(sampler, 1, target, wrong)
    assert sampler.state["errors"].tolist() == [1, 3] and sampler.state["count"].tolist() == [4, 4]
    plan = sampler.plan(2, numpy_rng(0))
    assert np.bincount(GROUP[plan.rows]).tolist() == reference([30, 10], [0.25, 0.75], 20) == [10, 10]
    assert sampler.facts() == {"group_visited": [10, 10], "group_error": [0.25, 0.75]}


def test_groups_that_are_missing():
    spec, validated = "drop:by=group", {"sizes": SIZES, "validated": VALIDATION_SIZES, "visits": 20}
    with pytest.raises(UsageError, match="drop:by=group needs groups; give --group-field"):
        started(spec, **validated)
    with pytest.raises(UsageError, match="groups of the validation data too"):
        started(spec, **validated, **PLACES)
    with pytest.raises(DataError, match="validation has no sample of 'water'; add some"):
        started(spec, **validated, **PLACES, validation_group=torch.zeros(12).long())
    # Samples on water that could not be read do not count.
    seen, target = torch.tensor([0] * 10 + [1] * 2), torch.tensor([0] * 10 + [-1] * 2)
    with pytest.raises(DataError, match="validation has no sample of 'water'"):
        started(spec, **validated, **PLACES, validation_group=seen, validation_target=target)
    # With no group known at all there is no mean either.
    with pytest.raises(DataError, match="validation has no sample of 'land', 'water'"):
        started(f"{spec},missing_class=mean", **validated, **PLACES, validation_group=torch.full((12,), -1))
    # Where only the samples to train on are known yet, theirs is all that can be said.
    unknown = dataclasses.replace(describe(SIZES, VALIDATION_SIZES, **PLACES), validation_target=None)
    SAMPLERS.make(spec).start(unknown, 20)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("drop:period=0", "drop:period=0 is less than 1"),
        ("drop:smoothing=-1", r"drop:smoothing=-1\.0 is not a number of at least 0"),
        ("drop:smoothing=inf", "drop:smoothing=inf"),
        ("drop:missing_class=zero", "none of error, mean"),
        ("drop:by=colour", "none of class, group"),
    ],
)
def test_senseless_parameters_of_drop(spec, why):
    with pytest.raises(UsageError, match=why):
        SAMPLERS.make(spec)


class Predictions(TensorRecorder):
    """What the model predicts after every epoch, in a validation pass of its own."""

    phase, epochs = Phase.VALIDATION, None

    def update(self, obs):
        self.state[f"{obs.epoch}"] = torch.stack([obs.target, obs.logits.argmax(1)])


def run_fit(spec="drop:period=2,missing_class=mean,smoothing=1", epochs=7, **options):
    sampler, seen = SAMPLERS.make(spec), Predictions()
    fit = make_fit(
        make_config(epochs=epochs),
        sampler=sampler,
        visits=22,
        validation=make_validation(),
        recorders=[seen],
        **options,
    )
    return fit, seen


def test_the_history_follows_the_predictions():
    fit, seen = run_fit()
    history, used = fit.train(), []
    for row in history:
        errors = np.ones(4)
        if before := (row["epoch"] - 1) // 2 * 2:
            target, predicted = seen.state[f"{before}"].numpy()
            for k in range(3):
                errors[k] = ((predicted != target)[target == k].sum() + 1) / (VALIDATION_SIZES[k] + 2)
            errors[3] = errors[:3].mean()
        used.append(tuple(errors))
        assert row["class_visited"] == reference(SIZES, errors, 22) and row["visited"] == 22
    assert len(set(used)) > 2


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_a_resumed_run_makes_the_same_plans(tmp_path, last):
    whole, _ = run_fit()
    whole.train()
    first, _ = run_fit(state_file=tmp_path / "state")
    first.train(last)
    second, _ = run_fit(state_file=tmp_path / "state")
    second.train()
    assert without_seconds(second.history) == without_seconds(whole.history)
    assert same(weights(second.model), weights(whole.model))
    assert same(second.sampler.state, whole.sampler.state)


def test_a_run_that_is_over_before_it_measures_is_refused():
    for period, epochs in ((4, 4), (9, 4)):
        with pytest.raises(UsageError, match=f"drop:period={period} measures nothing that one of {epochs}"):
            started(f"drop:period={period}", SIZES, SIZES, 20, epochs=epochs)
    # What is not asked for is a twentieth of the schedule, and a run of one epoch has no choice.
    started("drop", SIZES, SIZES, 20, epochs=3)
    started("drop:period=1", SIZES, SIZES, 20, epochs=1)


def test_the_history_says_what_set_the_budgets():
    sampler = started("drop:period=1", (20, 10), (4, 4), 12)
    sampler.plan(1, numpy_rng(0))
    assert sampler.facts() == {"class_error": [1, 1]}
    show(sampler, 1, (1, 2), (4, 4))
    sampler.plan(2, numpy_rng(0))
    assert sampler.facts() == {"class_error": [0.25, 0.5]}
