"""GraNd of the last layer against autograd of a linear layer with bias."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dprune_cli.core.errors import UsageError
from dprune_cli.scores.base import SCORES
from dprune_cli.scores.grand_last import last_layer_norm
from dprune_cli.train.observe import Field, Phase, RunInfo, observe

TARGET = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3])


def make_head(bias=True):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Linear(7, 4, bias=bias), 3 * torch.randn(len(TARGET), 7)


def one_by_one(head, embedding):
    """The norm of the gradient of every sample, from autograd."""
    norms = []
    for row in range(len(TARGET)):
        loss = F.cross_entropy(head(embedding[row : row + 1]), TARGET[row : row + 1])
        grads = torch.autograd.grad(loss, list(head.parameters()))
        norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in grads)))
    return norms


def run_score(spec, head, embedding, batches, epoch=3):
    run = RunInfo([str(row) for row in range(len(TARGET))], TARGET, 4, 3)
    score = SCORES.make(spec)
    watched = score.recorders(3)
    for recorder in watched.values():
        recorder.start(run)
        for rows in batches:
            logits = head(embedding[rows])
            recorder.update(observe(Phase.PROBE, epoch, rows, TARGET[rows], logits, embedding[rows]))
    return score.compute(run, **{name: one.result() for name, one in watched.items()})


def test_against_autograd():
    head, embedding = make_head()
    expected = one_by_one(head, embedding)
    batches = torch.randperm(len(TARGET), generator=torch.Generator().manual_seed(1)).split(5)
    found = run_score("grand_last", head, embedding, batches)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    # Without the last batch its samples were never seen.
    part = run_score("grand_last", head, embedding, batches[:-1])
    assert part.isnan().nonzero().flatten().tolist() == sorted(batches[-1].tolist())


def test_a_head_without_bias_counts_as_one_whose_bias_is_zero():
    bare, embedding = make_head(bias=False)
    full = nn.Linear(7, 4)
    full.load_state_dict({"weight": bare.weight.detach(), "bias": torch.zeros(4)})
    found = run_score("grand_last", bare, embedding, [torch.arange(len(TARGET))])
    assert found.tolist() == pytest.approx(one_by_one(full, embedding), rel=1e-5)


def test_by_hand():
    # p = (1/2, 1/2): the error's square is 1/2; embeddings of squared length 0, 24, and too long to square.
    embedding = torch.tensor([[0.0, 0.0], [2.0, math.sqrt(20)], [3e30, 4e30]])
    rows = torch.arange(3)
    obs = observe(Phase.PROBE, 1, rows, torch.tensor([0, 1, 1]), torch.zeros(3, 2), embedding)
    expected = [math.sqrt(0.5), math.sqrt(12.5), math.sqrt(0.5) * 5e30]
    assert last_layer_norm(obs).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("epochs", "expected"), [(1, 1), (9, 9), (11, 10), (101, 11)])
def test_it_looks_when_grand_does(epochs, expected):
    (recorder,) = SCORES.make("grand_last").recorders(epochs).values()
    (whole,) = SCORES.make("grand").recorders(epochs).values()
    assert recorder.epochs == whole.epochs == {expected} and recorder.phase is Phase.PROBE
    assert recorder.fields == {Field.LOGITS, Field.EMBEDDING}
    assert SCORES.make("grand_last").info.runs == SCORES.make("grand").info.runs


def test_an_epoch_outside_the_schedule():
    with pytest.raises(UsageError, match="grand_last:epoch=4 lies outside the schedule of 3 epochs"):
        SCORES.make("grand_last:epoch=4").recorders(3)
