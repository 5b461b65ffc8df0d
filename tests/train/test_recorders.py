from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dprune_cli.train.observe import (
    Field,
    Phase,
    RunInfo,
    correct,
    embedding_of,
    grad_norm_of,
    logits_of,
    margin,
    observe,
    target_probability,
)
from dprune_cli.train.recorders import ByRow, Transitions, VisitLog, VisitMean, WindowStd


def loss_of(obs):
    return obs.loss


def info(samples, classes=2):
    return RunInfo([str(row) for row in range(samples)], torch.zeros(samples, dtype=torch.int64), classes, 3)


def show(recorder, visits, samples):
    """Visits are (epoch, row, p): a sample of class 0 whose label has the probability p."""
    recorder.start(info(samples))
    for epoch, row, p in visits:
        logits = torch.tensor([[p, 1 - p]], dtype=torch.float64).log().float()
        recorder.update(observe(Phase.TRAIN, epoch, torch.tensor([row]), torch.tensor([0]), logits))
    return recorder.result()


VISITS = [(1, 0, 0.5), (1, 1, 0.25), (2, 0, 0.75), (2, 1, 0.75), (3, 0, 0.1), (3, 1, 0.2)]


def test_values_by_hand():
    logits = torch.tensor([[2.0, 5.0, 1.0], [0.0, 0.0, 0.0]])
    obs = observe(Phase.TRAIN, 1, torch.arange(2), torch.tensor([0, 2]), logits)
    assert margin(obs).tolist() == [-3.0, 0.0]
    # The lowest id wins a tie, so a sample of class 2 with equal logits is wrong.
    assert correct(obs).tolist() == [False, False]
    e = np.exp([2.0, 5.0, 1.0])
    assert target_probability(obs).tolist() == pytest.approx([e[0] / e.sum(), 1 / 3])
    assert obs.loss.tolist() == pytest.approx([-np.log(e[0] / e.sum()), np.log(3)])


def test_observations_are_detached():
    logits = torch.zeros(1, 2, requires_grad=True)
    obs = observe(Phase.TRAIN, 1, torch.tensor([0]), torch.tensor([1]), logits)
    assert not obs.logits.requires_grad and not obs.loss.requires_grad


def test_the_mean_over_visits():
    found = show(VisitMean(target_probability), VISITS, 3)
    assert found.dtype == torch.float64
    assert found[:2].tolist() == pytest.approx([0.45, 0.4])
    assert found[2].isnan()


def test_transitions_by_hand():
    # Row 0: right (a tie goes to class 0), right, wrong. Row 1: wrong, right, wrong. Row 2: wrong only.
    forgotten, learned = show(Transitions(), [*VISITS, (3, 2, 0.4)], 4)
    assert forgotten.tolist() == [1, 1, 0, 0]
    assert learned.tolist() == [1, 1, 0, -1]


def test_windows_by_hand():
    found = show(WindowStd(target_probability, 2), VISITS, 3)
    # The unbiased deviation of two numbers is their distance over the square root of 2.
    expected = [(0.25 + 0.65) / 2 / 2**0.5, (0.5 + 0.55) / 2 / 2**0.5]
    assert found[:2].tolist() == pytest.approx(expected, rel=1e-6)
    assert found[2].isnan()
    assert show(WindowStd(target_probability, 4), VISITS, 2).isnan().all()
    whole = show(WindowStd(target_probability, 3), VISITS, 2)
    assert whole.tolist() == pytest.approx(
        [np.std([0.5, 0.75, 0.1], ddof=1), np.std([0.25, 0.75, 0.2], ddof=1)], rel=1e-6
    )


def test_the_log_of_visits():
    found = show(VisitLog(), VISITS[:5], 3)
    assert found.shape == (3, 3) and found.dtype == torch.float64
    visits, last, mean = found
    assert visits.tolist() == [3.0, 2.0, 0.0]
    assert last[:2].tolist() == pytest.approx([-np.log(0.1), -np.log(0.75)], rel=1e-6)
    # Geometric means: the product of the probabilities of row 0 is 0.5 x 0.75 x 0.1 = 0.0375.
    assert mean[:2].tolist() == pytest.approx([-np.log(0.0375) / 3, -np.log(0.1875) / 2], rel=1e-6)
    assert last[2].isnan() and mean[2].isnan()


def test_losses_are_summed_in_double_precision():
    """In float32 a loss of 1e-4 would be lost beside 1e4, and a thousand of them are a tenth of a nat."""
    log = VisitLog()
    log.start(info(2))
    for loss in [1e4, *[1e-4] * 1000]:
        seen = observe(Phase.TRAIN, 1, torch.tensor([1]), torch.tensor([0]), torch.zeros(1, 2))
        log.update(dataclasses.replace(seen, loss=torch.tensor([loss])))
    visits, last, mean = log.result()[:, 1].tolist()
    assert (visits, last) == (1001, pytest.approx(1e-4))
    assert mean * 1001 == pytest.approx(1e4 + 0.1, abs=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VisitMean(margin),
        lambda: VisitMean(margin, Phase.PROBE, frozenset({3})),
        Transitions,
        lambda: WindowStd(margin, 3),
        VisitLog,
    ],
)
def test_equal_settings_are_equal_whatever_was_seen(make):
    first, second = make(), make()
    first.start(info(2))
    assert first == second and hash(first) == hash(second) and len({first: 0, second: 1}) == 1


def test_other_settings_are_not_equal():
    kinds = [
        VisitMean(margin),
        VisitMean(loss_of),
        VisitMean(margin, Phase.PROBE),
        VisitMean(margin, epochs=frozenset({1})),
        WindowStd(margin, 3),
        WindowStd(margin, 4),
        Transitions(),
        VisitLog(),
    ]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("recorder", [VisitMean(margin), Transitions(), WindowStd(margin, 2), VisitLog()])
def test_starting_again_forgets_and_leaves_earlier_results_alone(recorder):
    first = show(recorder, VISITS, 2)
    kept = first.clone()
    again = show(recorder, VISITS, 2)
    assert torch.equal(first, kept) and torch.equal(again, kept)


def test_by_row_keeps_the_last_vector_of_every_row():
    recorder = ByRow(logits_of, Phase.PROBE)
    recorder.start(info(4))
    for rows, values in (([2, 0], [[1.0, 2.0], [3.0, 4.0]]), ([0, 3], [[5.0, 6.0], [7.0, 8.0]])):
        target = torch.zeros(2, dtype=torch.int64)
        recorder.update(observe(Phase.PROBE, 1, torch.tensor(rows), target, torch.tensor(values)))
    nan = float("nan")
    expected = torch.tensor([[5.0, 6.0], [nan, nan], [1.0, 2.0], [7.0, 8.0]])
    torch.testing.assert_close(recorder.result(), expected, equal_nan=True)
    recorder.start(info(4))
    assert not recorder.state


def test_by_row_counts_validation_samples_apart():
    recorder = ByRow(embedding_of, Phase.VALIDATION, frozenset({1}), frozenset({Field.EMBEDDING}))
    recorder.start(RunInfo(["a", "b", "c"], torch.zeros(3, dtype=torch.int64), 2, 1, validation=2))
    seen = torch.zeros(1, 2), torch.tensor([[1.0, 2.0, 3.0]])
    recorder.update(observe(Phase.VALIDATION, 1, torch.tensor([1]), torch.tensor([0]), *seen))
    assert recorder.result().shape == (2, 3) and recorder.result()[1].tolist() == [1.0, 2.0, 3.0]


def test_what_was_not_asked_for_is_not_there():
    obs = observe(Phase.PROBE, 1, torch.tensor([0]), torch.tensor([0]), torch.zeros(1, 2))
    for value, name in ((embedding_of, "EMBEDDING"), (grad_norm_of, "GRAD_NORM")):
        with pytest.raises(RuntimeError, match=f"ask for Field.{name}"):
            value(obs)
