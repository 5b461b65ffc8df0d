from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_data import SIZES
from toy_fits import make_config, make_fit, same, weights, without_seconds
from toy_samplers import start_sampler

from dprune_cli.core.errors import UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import Phase, RunInfo, observe

N, C = sum(SIZES), len(SIZES)
# True-class probabilities of one sample of two classes; worked out by hand for windows of 3.
PATH = (0.2, 0.5, 0.6, 0.9)


def show(sampler, epoch, rows, logits):
    rows = torch.as_tensor(rows)
    target = torch.zeros(len(rows), dtype=torch.int64)
    sampler.update(observe(Phase.TRAIN, epoch, rows, target, torch.as_tensor(logits, dtype=torch.float32)))


def draw_logits(epochs, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (epochs, N, C)).astype(np.float32)


def drive(sampler, logits):
    """The plans (E of them) of a run whose epoch t shows its rows these logits (E, N, C), in two batches."""
    plans = []
    for epoch, values in enumerate(logits, 1):
        plans.append(sampler.plan(epoch, numpy_rng(0, epoch)).rows.copy())
        for rows in np.array_split(plans[-1], 2):
            show(sampler, epoch, rows, values[rows])
    return plans


def score_visits(visits, window, variant="paper", decay=0.9):
    """The score of one sample from the logits of its visits, by the score of the same name."""
    (recorder,) = (
        SCORES.make(f"tdds:window={window},epochs={len(visits)},variant={variant},decay={decay}")
        .recorders(len(visits))
        .values()
    )
    recorder.start(RunInfo(["0"], torch.zeros(1).long(), C, len(visits)))
    for epoch, values in enumerate(visits, 1):
        show(recorder, epoch, [0], values[None])
    return recorder.result().item()


@pytest.mark.parametrize(("variant", "expected"), [("paper", 0.02097925), ("authors", 0.22550527)])
def test_the_score_by_hand(variant, expected):
    sampler = start_sampler(f"tdds:variant={variant}", 2, sizes=(2, 1))
    for epoch, p in enumerate(PATH, 1):
        show(sampler, epoch, [1], np.log([[p, 1 - p]]))
        if epoch < 3:
            assert np.isinf(sampler.score()).all()
    assert sampler.score()[1] == pytest.approx(expected, rel=1e-6)
    assert np.isinf(sampler.score()[[0, 2]]).all()


@pytest.mark.parametrize(
    "spec",
    [
        "tdds",
        "tdds:period=1",
        "tdds:variant=authors,decay=0.5",
        "tdds:window=4",
        "tdds:window=4,period=5",
        "tdds:warmup=3",
        "tdds:warmup=1,period=2",
    ],
)
def test_selections_are_those_of_a_reference(spec):
    epochs = 20
    sampler, logits = start_sampler(spec, 26, epochs=epochs), draw_logits(epochs)
    plans, period = drive(sampler, logits), sampler.period or sampler.window
    visits, last, by_score = [[] for _ in range(N)], None, 0
    for epoch, plan in enumerate(plans, 1):
        rows, size = set(plan), int(sampler.sizes[epoch - 1])
        assert len(rows) == len(plan) == size
        if epoch > sampler.warmup and (epoch - sampler.warmup - 1) % period == 0:
            new = {row for row in range(N) if len(visits[row]) < sampler.window}
            if len(new) < size:
                known = sorted(set(range(N)) - new)
                found = {
                    row: score_visits(visits[row], sampler.window, sampler.variant, sampler.decay)
                    for row in known
                }
                new |= set(sorted(found, key=found.get, reverse=True)[: size - len(new)])
                by_score += 1
                assert rows == new
            else:
                assert rows <= new
        elif epoch > sampler.warmup:
            assert rows <= last
        last = rows
        for row in plan:
            visits[row].append(logits[epoch - 1, row])
    assert by_score >= 2
    assert sum(map(len, plans)) == 26 * epochs


def test_what_has_no_trajectory_comes_first_and_every_sample_gets_a_score():
    # 10 of 40 samples: after 3 / 0.25 = 12 epochs all have three visits, however much the known ones move.
    sampler = start_sampler("tdds", 10, epochs=13)
    plans = drive(sampler, 100 * draw_logits(13))
    visits = np.bincount(np.concatenate(plans[:12]), minlength=N)
    assert (visits == 3).all()
    for first in range(0, 12, 3):
        assert set(plans[first]) == set(plans[first + 1]) == set(plans[first + 2])
    assert np.isfinite(sampler.score()).all()


def find_first_full(period):
    """The first epoch after which all samples have a score, if each visits a quarter of them."""
    sampler, logits = start_sampler(f"tdds:period={period}", 10, epochs=30), draw_logits(30)
    for epoch in range(1, 31):
        rows = sampler.plan(epoch, numpy_rng(0, epoch)).rows.copy()
        show(sampler, epoch, rows, logits[epoch - 1, rows])
        if np.isfinite(sampler.score()).all():
            return epoch
    raise AssertionError(f"after 30 epochs there still are samples without a score with period={period}")


def test_no_period_finds_all_scores_sooner_than_that_of_the_window():
    assert find_first_full(3) == 12
    assert find_first_full(1) >= 12 and find_first_full(2) > 12
    # Four selections of five epochs; the last needs three of them.
    assert find_first_full(5) == 18


def test_what_has_no_score_comes_in_random_order():
    sampler, times = start_sampler("tdds", 10, epochs=1), np.zeros(N)
    for draw in range(2000):
        times[sampler.plan(1, numpy_rng(draw)).rows] += 1
    assert times / 2000 == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 2000))


def test_a_warm_up_gives_every_sample_a_score_at_once():
    sampler = start_sampler("tdds:warmup=3", 25, epochs=6)
    logits = draw_logits(6)
    plans = drive(sampler, logits)
    assert [len(rows) for rows in plans] == [40, 40, 40, 10, 10, 10]
    found = [score_visits(logits[:3, row], 3) for row in range(N)]
    assert set(plans[3]) == set(np.argsort(found)[-10:])


def test_a_run_too_short_for_one_window_still_keeps_to_its_budget():
    sampler = start_sampler("tdds:window=8,period=1", 10, epochs=4)
    plans = drive(sampler, draw_logits(4))
    assert [len(set(rows)) for rows in plans] == [10] * 4
    assert np.isinf(sampler.score()).all()


def test_samples_that_cannot_be_used_are_never_visited():
    sampler = start_sampler("tdds:period=1", 20, epochs=8, bad=[0, 21, 39])
    assert not {0, 21, 39} & set(np.concatenate(drive(sampler, draw_logits(8))))


def test_it_holds_one_matrix_and_a_few_numbers_a_sample():
    run = RunInfo([str(row) for row in range(1000)], torch.zeros(1000).long(), 50, 9)
    sampler = SAMPLERS.make("tdds:window=5")
    sampler.start(run, 300)
    sampler.plan(1, numpy_rng(0))
    matrix, ring, average, visits, chosen = 1000 * 50 * 4, 4 * 1000 * 4, 1000 * 8, 1000 * 8, 300 * 8
    held = sum(tensor.untyped_storage().nbytes() for tensor in sampler.state.values())
    assert held == matrix + ring + average + visits + chosen


def run_fit(spec, epochs=9, **options):
    config = make_config(epochs=epochs)
    return make_fit(config, sampler=SAMPLERS.make(spec), visits=24, **options)


@pytest.mark.parametrize("spec", ["tdds", "tdds:period=2,warmup=1,variant=authors"])
@pytest.mark.parametrize("last", [1, 4, 6])
def test_a_resumed_run_makes_the_same_selections(tmp_path, spec, last):
    whole = run_fit(spec)
    whole.train()
    first = run_fit(spec, state_file=tmp_path / "state")
    first.train(last)
    second = run_fit(spec, state_file=tmp_path / "state")
    second.train()
    assert without_seconds(second.history) == without_seconds(whole.history)
    assert same(weights(second.model), weights(whole.model))
    assert same(second.sampler.state, whole.sampler.state)
    assert np.array_equal(second.sampler.score(), whole.sampler.score())


def test_the_budget_holds_in_training_and_starting_again_forgets():
    fit = run_fit("tdds")
    history = fit.train()
    assert [row["visited"] for row in history] == [24] * 9
    fit.sampler.start(fit.info, 24)
    assert np.isinf(fit.sampler.score()).all() and len(fit.sampler.state["chosen"]) == 0


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("tdds:window=2", "tdds:window=2 is too short for two differences to compare; give 3 or more"),
        ("tdds:decay=0", r"tdds:decay=0\.0 is not in \(0, 1\]"),
        ("tdds:decay=nan", "tdds:decay=nan"),
        ("tdds:period=0", "tdds:period=0 is less than 1"),
        ("tdds:warmup=-1", "tdds:warmup=-1 is less than 0"),
        ("tdds:variant=other", "variant=other is none of paper, authors"),
    ],
)
def test_senseless_parameters_of_tdds(spec, why):
    with pytest.raises(UsageError, match=why):
        SAMPLERS.make(spec)
