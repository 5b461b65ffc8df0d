"""GraNd over all parameters: what it watches, against one backward a sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dprune_cli.core.errors import UsageError
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import Field, Phase, RunInfo, observe


@pytest.mark.parametrize(("epochs", "expected"), [(1, 1), (9, 9), (11, 10), (101, 11), (205, 21)])
def test_it_looks_after_a_tenth_of_the_schedule_but_at_least_ten_epochs(epochs, expected):
    (recorder,) = SCORES.make("grand").recorders(epochs).values()
    assert recorder.epochs == {expected} and recorder.phase is Phase.PROBE
    assert recorder.fields == {Field.GRAD_NORM}
    (early,) = SCORES.make("el2n").recorders(epochs).values()
    assert early.epochs == recorder.epochs
    assert SCORES.make("grand").info.runs == 5


@pytest.mark.parametrize("epoch", [0, -1, 6])
def test_an_epoch_outside_the_schedule(epoch):
    with pytest.raises(UsageError, match=f"grand:epoch={epoch} lies outside the schedule of 5 epochs"):
        SCORES.make(f"grand:epoch={epoch}").recorders(5)


def test_the_norm_that_is_observed_is_the_score():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).requires_grad_()
        inputs = torch.randn(9, 4)
    # The second layer's bias is frozen: it has no part in the norm.
    model[2].bias.requires_grad_(False)
    target = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2])
    trained = [one for one in model.parameters() if one.requires_grad]
    norms = []
    for row in range(9):
        loss = F.cross_entropy(model(inputs[row : row + 1]), target[row : row + 1])
        norms.append(sum(float((g**2).sum()) for g in torch.autograd.grad(loss, trained)) ** 0.5)
    run = RunInfo([str(row) for row in range(9)], target, 3, 4)
    score = SCORES.make("grand:epoch=2")
    (name, recorder), *_ = score.recorders(4).items()
    recorder.start(run)
    for rows in (torch.tensor([7, 0, 3]), torch.tensor([1, 2, 8, 5, 4])):
        seen = torch.tensor(norms)[rows]
        recorder.update(observe(Phase.PROBE, 2, rows, target[rows], model(inputs[rows]), grad_norm=seen))
    found = score.compute(run, **{name: recorder.result()})
    assert found[6].isnan()  # never visited
    assert found[[*range(6), 7, 8]].tolist() == pytest.approx([*norms[:6], *norms[7:]], rel=1e-6)
