from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from many import run_together
from torch import nn
from toy_fits import CLASSES, Everything, MemoryImages, make_config, make_info, make_model
from toy_models import dropout_net

from dprune_cli.core import ranks
from dprune_cli.core.errors import UsageError
from dprune_cli.core.progress import Silent
from dprune_cli.models.build import build_model
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.labelled import Labelled, find_owners
from dprune_cli.train.loop import Fit
from dprune_cli.train.observe import Field, Phase
from dprune_cli.train.recorders import VisitLog
from dprune_cli.weighters.base import WEIGHTERS

N, VALIDATION = 300, 50
OTHER_SAMPLERS = ["infobatch", "rs2", "random", "tdds", "eps_greedy", "ucb"]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def make_rows(count, seed):
    """Images of unequal classes, mostly a brightness each: easy to learn, so that rounding does not grow."""
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.choice(CLASSES, count, p=[0.5, 0.3, 0.15, 0.05]))
    pixels = rng.integers(0, 100, (count, 8, 8, 3)) + 40 * labels[:, None, None, None]
    return torch.tensor(labels), pixels.astype(np.uint8)


def own_data(count, seed, weight=None):
    target, pixels = make_rows(count, seed)
    images = MemoryImages(pixels)
    images.rows = np.arange(count)[ranks.own_range(count)]
    return Labelled(images, np.arange(count), target, weight, find_owners(images, count))


class Steps(Everything):
    """The rows and the mean loss of every batch."""

    def update(self, obs):
        self.seen.append((obs.index.tolist(), float(obs.loss.mean())))


def train(count=N, model="tiny", sampler=None, weighter=None, batch=32, epochs=2, **settings):
    """What a run shows to those who watch it, and its history and weights."""
    weight = torch.linspace(0.5, 1.5, count) if weighter else None
    data, validation = own_data(count, 0, weight), own_data(VALIDATION, 1)
    config = make_config(epochs=epochs, batch_size=batch, cutout=2, **settings)
    info = dataclasses.replace(
        make_info(data, epochs), validation=VALIDATION, validation_target=validation.target
    )
    net = make_model(dropout_net) if model == "dropout" else build_model(model, CLASSES, 8, seed=0)
    steps, clean = Steps(), Everything(Phase.PROBE, frozenset({epochs}), frozenset({Field.EMBEDDING}))
    log = VisitLog()
    fit = Fit(
        model=net,
        data=data,
        config=config,
        info=info,
        progress=Silent(),
        recorders=[steps, clean, log],
        sampler=SAMPLERS.make(sampler) if sampler else None,
        visits=count * 3 // 5 if sampler else None,
        weighter=WEIGHTERS.make(weighter) if weighter else None,
        validation=validation,
    )
    fit.train()
    history = [{name: value for name, value in row.items() if "seconds" not in name} for row in fit.history]
    probed = sorted(
        (row, logits)
        for obs in clean.seen
        for row, logits in zip(obs.index.tolist(), obs.logits.tolist(), strict=True)
    )
    weights = {name: value.tolist() for name, value in fit.model.state_dict().items()}
    return steps.seen, history, probed, weights, log.result().tolist() if ranks.is_main() else None


def watched(found):
    """Rows and losses of the batches of the first process."""
    rows, losses = zip(*found[0][0], strict=True)
    return list(rows), np.array(losses)


@pytest.mark.parametrize("size", [2, slow(4)])
def test_several_processes_train_like_one(size):
    (alone,), together = run_together(1, train), run_together(size, train)
    rows, losses = watched([alone])
    shared_rows, shared_losses = watched(together)
    assert len(losses) == 20 and losses[0] > 2 * losses[-1]
    assert shared_rows == rows
    np.testing.assert_allclose(shared_losses, losses, rtol=0, atol=1e-4)
    for row, expected in zip(together[0][1], alone[1], strict=True):
        assert row["class_visited"] == expected["class_visited"] and row["lr"] == expected["lr"]
        assert row["val_accuracy"] == pytest.approx(expected["val_accuracy"], abs=0.05)
    assert [row for row, _ in together[0][2]] == list(range(N))
    np.testing.assert_allclose(
        [logits for _, logits in together[0][2]], [logits for _, logits in alone[2]], atol=0.02
    )
    # All copies of the model stay the same to the last bit.
    assert all(one[3] == together[0][3] and one[1] == together[0][1] for one in together)
    np.testing.assert_allclose(together[0][4], alone[4], rtol=0, atol=0.01)


@pytest.mark.parametrize("sampler", ["rcap", slow("drop"), *map(slow, OTHER_SAMPLERS)])
def test_samplers_choose_for_all_processes(sampler):
    given = ("tiny", sampler, None, 32, 4)
    (alone,), together = run_together(1, train, N, *given), run_together(2, train, N, *given)
    first, shared = alone[1], together[0][1]
    assert all(one[1] == shared for one in together)
    # The first choice goes by nothing that was rounded; later ones may differ where losses nearly tie.
    assert shared[0]["class_visited"] == first[0]["class_visited"]
    assert [row["visited"] for row in shared] == [row["visited"] for row in first] or sampler == "infobatch"
    for row in shared:
        assert sum(row["class_visited"]) == row["visited"]
    visits = np.array(together[0][4][0])
    assert visits.sum() == sum(row["visited"] for row in shared)


@pytest.mark.parametrize("weighter", ["cdb_w", slow("batch_mean")])
def test_weighters_see_the_whole_batch(weighter):
    given = ("tiny", None, weighter)
    (alone,), together = run_together(1, train, N, *given), run_together(2, train, N, *given)
    np.testing.assert_allclose(watched(together)[1], watched([alone])[1], rtol=0, atol=1e-3)


def train_clipped():
    return train(epochs=1, clip_norm=0.05)


@pytest.mark.slow
def test_gradients_are_clipped_at_the_length_of_their_sum():
    (alone,), together = run_together(1, train_clipped), run_together(2, train_clipped)
    np.testing.assert_allclose(watched(together)[1], watched([alone])[1], rtol=0, atol=1e-4)
    plain = run_together(1, train, N, "tiny", None, None, 32, 1)
    assert np.abs(watched(plain)[1] - watched([alone])[1]).max() > 0.01


@pytest.mark.parametrize(("count", "batch"), [(3, 2), slow(7, 3), slow(33, 32)])
def test_processes_without_a_sample_of_a_batch_take_part(count, batch):
    given = (count, "tiny", None, None, batch)
    (alone,), together = run_together(1, train, *given), run_together(4, train, *given)
    assert watched(together)[0] == watched([alone])[0]
    assert all(one[3] == together[0][3] for one in together)


def alike():
    """Logits of one batch of equal images, of the rows of the first process and of the second."""
    data = own_data(8, 0)
    data.inputs.pixels[:] = 100
    seen = Everything()
    config = make_config(epochs=1, flip=False, shift=0)
    fit = Fit(make_model(dropout_net), data, config, make_info(data, 1), Silent(), recorders=[seen])
    fit.train()
    if not ranks.is_main():
        return None
    by_row = dict(zip(seen.seen[0].index.tolist(), seen.seen[0].logits.tolist(), strict=True))
    return [sorted(by_row[row] for row in half) for half in (range(4), range(4, 8))]


def test_every_process_drops_other_units():
    first, second = run_together(2, alike)[0]
    assert first != second and len({tuple(logits) for logits in first + second}) > 4


def some_epochs(folder, last):
    """The losses by batch of a run that may go on from a state in the folder, and stops after an epoch."""
    data, steps = own_data(N, 0), Steps()
    config, info = make_config(epochs=3, batch_size=32), make_info(data, 3)
    net, state = build_model("tiny", CLASSES, 8, seed=0), Path(folder) / "state.pt"
    sampler = SAMPLERS.make("rcap")
    fit = Fit(
        net, data, config, info, Silent(), recorders=[steps], sampler=sampler, visits=150, state_file=state
    )
    fit.train(last)
    return steps.seen


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    for name in ("whole", "parted"):
        (tmp_path / name).mkdir()
    whole = run_together(2, some_epochs, tmp_path / "whole", 3)[0]
    first = run_together(2, some_epochs, tmp_path / "parted", 1)[0]
    rest = run_together(1, some_epochs, tmp_path / "parted", 3)[0]
    assert [rows for rows, _ in first + rest] == [rows for rows, _ in whole]
    np.testing.assert_allclose([loss for _, loss in first + rest], [loss for _, loss in whole], atol=1e-4)


class Viewing(nn.Module):
    """Fails on an empty batch, as many models do."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, CLASSES)

    def forward(self, images):
        return self.head(images.reshape(images.shape[0], -1))


def refused():
    data = own_data(N, 0)
    fit = Fit(
        model=Viewing(),
        data=data,
        config=make_config(),
        info=make_info(data, 3),
        progress=Silent(),
    )
    with pytest.raises(UsageError) as caught:
        fit.train()
    return str(caught.value)


def test_a_model_that_cannot_take_an_empty_batch_is_refused_at_once():
    said = run_together(2, refused)
    assert said[0] == said[1] and "fails on a batch without samples" in said[0]


def test_owners_are_found_by_who_reads_what():
    def part(size):
        return [found.tolist() for found in run_together(size, owners)]

    assert part(1) == [[-2]]
    assert part(3) == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 2, -1]] * 3


def owners():
    images = MemoryImages(make_rows(11, 0)[1])
    images.rows = np.arange(10)[ranks.own_range(10)]
    found = find_owners(images, 11)
    return np.array([-2]) if found is None else found
