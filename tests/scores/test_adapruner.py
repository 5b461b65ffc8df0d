from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dprune_cli.core.errors import UsageError
from dprune_cli.scores.adapruner import AdaPruner, MaskLearner, lift, slope
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import BatchObs, Phase, RunInfo

CE = np.array([0.001, 0.01, 0.1, 1.0, 9.0])


def make_info(samples, epochs):
    return RunInfo([str(row) for row in range(samples)], torch.zeros(samples).long(), 4, epochs)


def make_learner(samples=5, epochs=5, **parameters):
    learner = AdaPruner(**parameters).sequel(epochs).learner
    learner.start(make_info(samples, epochs))
    return learner


def observe_losses(epoch, rows, losses):
    rows = torch.as_tensor(rows)
    losses = torch.as_tensor(np.asarray(losses, np.float32))
    return BatchObs(Phase.TRAIN, epoch, rows, torch.zeros_like(rows), torch.zeros(len(rows), 4), losses)


def show(learner, losses, epochs, size=None, seed=None, first=1):
    """Losses (N,) or (E, N), in batches; the mask after the last epoch."""
    losses = np.broadcast_to(losses, (epochs, np.shape(losses)[-1]))
    for epoch in range(first, epochs + 1):
        count = losses.shape[1]
        rows = np.arange(count) if seed is None else np.random.default_rng([seed, epoch]).permutation(count)
        for start in range(0, count, size or count):
            part = rows[start : start + (size or count)]
            learner.coef(observe_losses(epoch, part, losses[epoch - 1][part]), torch.ones(len(part)))
    return learner.result()[0]


def make_losses(samples, seed=0):
    """Of a trained model: most are small, some are not; none equal another."""
    rng = np.random.default_rng(seed)
    easy = rng.random(samples) < 0.8
    return np.exp(np.where(easy, rng.normal(-5, 1.5, samples), rng.normal(0, 1, samples)))


@pytest.mark.parametrize("alpha", [0.1, 1.3, 5.0])
@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_the_slope_is_the_derivative_of_the_objective(alpha, keep):
    rng = np.random.default_rng(0)
    mask = torch.tensor(rng.normal(0.3, 1, 17), requires_grad=True)
    loss = torch.tensor(make_losses(17))
    y = torch.sigmoid(alpha * mask)
    strength = 100 * abs((mask > 0).double().mean().item() - keep)
    objective = (y * loss).sum() / 17 + (y * -torch.log(loss + 1e-5)).sum() / 17
    objective = objective + strength * (y.mean() - keep) ** 2
    (expected,) = torch.autograd.grad(objective, mask)
    found = slope(mask.detach(), loss, alpha, keep, 100.0)
    assert torch.allclose(found, 17 * expected, rtol=1e-12)


def test_a_lost_target_is_refound_by_raising_all_entries_alike():
    mask = torch.tensor([-5.0, -1.0, -3.0, 2.0, -4.0], dtype=torch.float64)
    raised = mask + lift(mask, 0.6)
    assert (raised > 0).tolist() == [False, True, True, True, False]
    assert torch.allclose(raised - mask, torch.full_like(mask, 3), atol=1e-5)
    assert float(lift(raised, 0.6)) == float(lift(mask, 0.2)) == 0
    # Half up: 0.5 of 5 is 3. And one is always kept.
    assert int((mask + lift(mask, 0.5) > 0).sum()) == 3
    assert int((mask - 9 + lift(mask - 9, 0.01) > 0).sum()) == 1


def test_one_epoch_by_hand():
    learner = make_learner(epochs=1, keep=0.4, lr=3.0, alpha_end=2.0, scale=50.0)
    mask, data = np.ones(5), CE.astype(np.float32).astype(np.float64)
    for step in range(200):
        alpha = 0.1 + 1.9 * step / 199
        y = 1 / (1 + np.exp(-alpha * mask))
        strength = 50 * abs((mask > 0).mean() - 0.4)
        pull = data - np.log(data + 1e-5) + 2 * strength * (y.mean() - 0.4)
        mask = mask - 3 / 200 * alpha * y * (1 - y) * pull
        second = np.sort(mask)[-2]
        mask = mask + max(0.0, 1e-6 - second)
    assert show(learner, CE, 1).tolist() == pytest.approx(mask.tolist(), rel=1e-9)
    assert (mask > 0).mean() == 0.4


@pytest.mark.parametrize(("epochs", "steps"), [(1, 200), (3, 67), (5, 40), (200, 1), (300, 1)])
def test_alpha_rises_evenly_from_a_tenth_to_its_end(epochs, steps):
    learner = make_learner(epochs=epochs)
    last = epochs * steps - 1
    assert learner.alpha(0) == pytest.approx(0.1) and learner.alpha(last) == pytest.approx(5)
    assert learner.alpha(last // 2) == pytest.approx(0.1 + 4.9 * (last // 2) / last)


def test_the_coefficients_are_the_mask_of_the_epochs_before():
    learner = make_learner(epochs=2)
    weight = torch.tensor([1.0, 2.0, 0.0])
    # At first m = 1 and alpha = 0.1 for all.
    y = 1 / (1 + np.exp(-0.1))
    found = learner.coef(observe_losses(1, [4, 0, 2], CE[[4, 0, 2]]), weight)
    assert found.dtype == torch.float32 and found.tolist() == pytest.approx([y / 3, 2 * y / 3, 0])
    learner.coef(observe_losses(1, [1, 3], CE[[1, 3]]), torch.ones(2))
    mask = learner.result()[0]
    for rows in ([3, 1], [2, 0, 4]):
        found = learner.coef(observe_losses(2, rows, [1.0] * len(rows)), torch.ones(len(rows)))
        expected = torch.sigmoid(learner.alpha(100) * mask[rows]) / len(rows)
        assert torch.allclose(found.double(), expected, rtol=1e-6)
    assert learner.alpha(100) == pytest.approx(0.1 + 4.9 * 100 / 199)


@pytest.mark.parametrize("size", [1, 7, 50])
def test_entries_belong_to_rows_whatever_the_batches(size):
    losses = make_losses(50) * np.exp(np.random.default_rng(1).normal(0, 0.3, (4, 50)))
    expected = show(make_learner(50, 4, keep=0.6), losses, 4)
    assert torch.equal(show(make_learner(50, 4, keep=0.6), losses, 4, size=size, seed=5), expected)
    order = np.random.default_rng(2).permutation(50)
    moved = show(make_learner(50, 4, keep=0.6), losses[:, order], 4, size=size)
    assert torch.allclose(moved, expected[order], rtol=1e-9, atol=1e-12)


def test_the_number_of_epochs_makes_no_difference_to_constant_losses():
    expected = show(make_learner(50, 1, keep=0.6), make_losses(50), 1)
    for epochs in (5, 20, 200):
        assert torch.equal(show(make_learner(50, epochs, keep=0.6), make_losses(50), epochs), expected)


def test_a_loss_near_one_is_kept_before_easy_and_hopeless_ones():
    found = show(make_learner(keep=0.6), CE, 5)
    # l - log l: 6.92, 4.61, 2.40, 1, 6.80.
    assert found.argsort(descending=True).tolist() == [3, 2, 1, 4, 0]
    assert (found > 0).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("epochs", [1, 5, 20, 200])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.7, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("kind", ["trained", "untrained"])
def test_the_target_is_met(epochs, keep, kind):
    rng = np.random.default_rng(3)
    # Of a model that knows nothing yet all losses are near the minimum of l - log l.
    losses = make_losses(200) if kind == "trained" else np.exp(rng.normal(0, 0.7, 200))
    visits = losses * np.exp(rng.normal(0, 0.4, (epochs, 200)))
    score = AdaPruner(keep=keep)
    learner = score.sequel(epochs).learner
    learner.start(make_info(200, epochs))
    show(learner, visits, epochs, size=32, seed=1)
    facts = score.facts(learned=learner.result())
    assert facts["distance"] <= 0.005 and facts["within_2_points"]


def test_losses_of_zero_and_of_many_nats_stay_finite():
    found = show(make_learner(keep=0.4), np.array([0.0, 0.0, 1e-7, 1.0, 80.0]), 5)
    assert found.isfinite().all() and found.argmax() == 3


def test_equal_losses_are_kept_together():
    found = show(make_learner(keep=0.5), np.full(5, 0.01), 5)
    assert (found > 0).all() and len(found.unique()) == 1


def test_samples_never_seen_are_undefined_and_count_for_nothing():
    with_hole = make_learner(6, 5, keep=0.6)
    for epoch in range(1, 6):
        with_hole.coef(observe_losses(epoch, [0, 1, 3, 4, 5], CE), torch.ones(5))
    found = with_hole.result()[0]
    assert found[2].isnan()
    assert torch.equal(found[[0, 1, 3, 4, 5]], show(make_learner(keep=0.6), CE, 5))


def test_a_result_does_not_disturb_what_follows():
    once, twice = make_learner(keep=0.6), make_learner(keep=0.6)
    show(once, CE, 3)
    expected = show(once, CE, 5, first=4)
    show(twice, CE, 3)
    twice.result()
    twice.result()
    assert torch.equal(show(twice, CE, 5, first=4), expected)


def test_facts():
    values = torch.tensor([2.0, 0.5, -1.0, float("nan"), 0.1, 1e-6])
    learned = torch.stack([values, values - 0.3])
    assert AdaPruner(keep=0.75).facts(learned=learned) == {
        "target": 0.75,
        "ratio": 0.8,
        "distance": pytest.approx(0.05),
        "within_2_points": False,
        "ratio_not_raised": 0.4,
    }
    assert AdaPruner(keep=0.78).facts(learned=learned)["within_2_points"]
    assert AdaPruner(keep=0.5).facts(learned=torch.full((2, 3), float("nan"))) == {"target": 0.5}


def test_what_the_mask_was_raised_by_is_told_apart():
    easy = make_learner(keep=0.6)
    mask = show(easy, np.full(5, 1e-5), 5)
    raised = float(easy.state["raised"])
    alone = easy.result()[1]
    assert (mask > 0).all() and (alone <= 0).all() and torch.equal(mask - float((mask - alone)[0]), alone)
    assert 0 < raised <= float((mask - alone)[0])
    held = make_learner(keep=0.6)
    # With losses near 1 in so few steps nothing comes near the threshold.
    held.lr = 0.1
    assert torch.equal(show(held, np.ones(5), 5), held.result()[1])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("adapruner", (30, 30)),
        ("adapruner:warmup=0", (0, 30)),
        ("adapruner:warmup=30,epochs=1", (30, 1)),
        ("adapruner:warmup=3,epochs=200", (3, 200)),
    ],
)
def test_the_sequel(spec, expected):
    score = SCORES.make(spec)
    assert score.recorders(30) == {}
    first, second = score.sequel(30), score.sequel(30)
    assert (first.start, first.epochs) == expected and first.learner is not second.learner
    assert dataclasses.asdict(first.learner) | {"state": {}} == {
        "keep": 0.9,
        "lr": 4.0,
        "alpha_end": 5.0,
        "scale": 100.0,
        "state": {},
    }


@pytest.mark.parametrize(
    "parameter",
    [
        "keep=0",
        "keep=1",
        "keep=nan",
        "warmup=-1",
        "warmup=31",
        "epochs=0",
        "lr=0",
        "lr=inf",
        "alpha_end=0",
        "scale=-1",
        "scale=nan",
    ],
)
def test_what_makes_no_sense_is_refused_before_training(parameter):
    with pytest.raises(UsageError, match=f"adapruner:{parameter.partition('=')[0]}="):
        SCORES.make(f"adapruner:{parameter}").recorders(30)


def test_the_learner_is_a_plain_weighter():
    assert MaskLearner(keep=0.5, lr=1.0, alpha_end=5.0, scale=1.0).state == {}
    learner = make_learner()
    learner.end_epoch(1, torch.zeros(4))
    assert learner.state["mask"].tolist() == [1] * 5 and learner.result().isnan().all()
