"""Glister by hand, and against explicit gradients of the last layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from dprune_cli.core.errors import UsageError
from dprune_cli.io.keys import hash_keys
from dprune_cli.scores.base import SCORES
from dprune_cli.scores.glister import round_sizes
from dprune_cli.train.observe import Field, Phase, RunInfo

SIZES = (17, 9, 4, 1)
LABELS = np.repeat(np.arange(4), SIZES)
KEYS = [f"some/key{row}" for row in range(len(LABELS))]
UNSEEN = [2, 30]
VALIDATION = np.repeat(np.arange(4), (3, 4, 5, 1))


def make_run(labels=LABELS, keys=KEYS):
    return RunInfo(keys, torch.as_tensor(labels).long(), 4, 5, validation=len(VALIDATION))


def make_recorded(seed=0, width=3):
    rng = np.random.default_rng(seed)

    def tensor(rows, columns):
        return torch.from_numpy(rng.normal(0, 2, (rows, columns)).astype(np.float32))

    found = {
        "embedding": tensor(len(LABELS), width),
        "logits": tensor(len(LABELS), 4),
        "val_embedding": tensor(len(VALIDATION), width),
        "val_logits": tensor(len(VALIDATION), 4),
        "val_target": torch.from_numpy(VALIDATION).float(),
    }
    for name, value in found.items():
        value[[5] if name.startswith("val") else UNSEEN] = float("nan")
    return found


def layer_gradient(logits, inputs, target, reduction):
    """Gradient of the loss in the bias and weight of a layer by which inputs give these logits, flat."""
    weight = torch.zeros(logits.shape[1], inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(logits + inputs @ weight.T + bias, target, reduction=reduction)
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, (bias, weight))])


def plain(recorded, rows, eta, sizes):
    """Rows in order, every gradient of C + C D numbers written out by autograd."""
    data = {name: value.double() for name, value in recorded.items()}
    seen = ~data["val_embedding"][:, 0].isnan()
    h_val, out_val = data["val_embedding"][seen], data["val_logits"][seen]
    y_val, classes = data["val_target"][seen].long(), data["logits"].shape[1]
    gradient = {
        row: layer_gradient(
            data["logits"][[row]], data["embedding"][[row]], torch.tensor([LABELS[row]]), "sum"
        )
        for row in rows
    }
    order, left = [], list(rows)

    def gain():
        step = eta * sum((gradient[row] for row in order), torch.zeros_like(gradient[rows[0]]))
        bias, weight = step[:classes], step[classes:].reshape(classes, -1)
        mean = layer_gradient(out_val - (h_val @ weight.T + bias), h_val, y_val, "mean")
        return {row: float(gradient[row] @ mean) for row in left}

    for size in sizes:
        gains = gain()
        best = sorted(left, key=lambda row: -gains[row])[:size]
        order += best
        left = [row for row in left if row not in best]
    gains = gain()
    return order + sorted(left, key=lambda row: -gains[row])


def in_hash_order(keys, rows):
    hashes = hash_keys([keys[row] for row in rows])
    return [rows[place] for place in np.argsort(hashes, kind="stable")]


ROWS = in_hash_order(KEYS, [row for row in range(len(KEYS)) if row not in UNSEEN])


def as_order(ranks):
    seen = np.flatnonzero(~np.isnan(ranks))
    assert sorted(ranks[seen]) == list(range(1, len(seen) + 1))
    return seen[np.argsort(ranks[seen])].tolist()


def test_by_hand():
    # h = 1 everywhere, logits 0: p - y is (-1/2, 1/2) for class 0 and (1/2, -1/2) for class 1, and
    # <g_i, g_j> = 2 (p - y)_i (p - y)_j. Validation: one of class 0. Class 0 gains 1, class 1 -1.
    recorded = {
        "embedding": torch.ones(4, 1),
        "logits": torch.zeros(4, 2),
        "val_embedding": torch.ones(1, 1),
        "val_logits": torch.zeros(1, 2),
        "val_target": torch.zeros(1),
    }
    run = RunInfo(list("abcd"), torch.tensor([1, 0, 1, 0]), 2, 3, validation=1)
    found = SCORES.make("glister").compute(run, **recorded)
    assert sorted(found[[1, 3]].tolist()) == [1, 2] and sorted(found[[0, 2]].tolist()) == [3, 4]
    # Two validation samples, of both classes, but the one of class 0 is much surer already: class 1 gains
    # first. A step of 8 moves each logit by 8, and then class 0 is the one in need.
    recorded["val_embedding"], recorded["val_target"] = torch.ones(2, 1), torch.tensor([0.0, 1.0])
    recorded["val_logits"] = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    run = RunInfo(list("abcd"), torch.tensor([1, 0, 1, 0]), 2, 3, validation=2)
    still = SCORES.make("glister:eta=0").compute(run, **recorded)
    assert sorted(still[[0, 2]].tolist()) == [1, 2]
    turn = SCORES.make("glister:eta=8,rounds=9").compute(run, **recorded)
    assert sorted(turn[[0, 2]].tolist()) == [1, 3] and sorted(turn[[1, 3]].tolist()) == [2, 4]


@pytest.mark.parametrize("eta", [0.0, 0.02, 0.5])
@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ("rounds=99", [1] * 29),
        ("rounds=2", [1, 1, 1, 1, 2, 3, 4, 6, 9, 1]),
        ("rounds=1", [1, 1, 2, 4, 8, 13]),
        ("rounds=2,picks=30%", [1, 1, 1, 1, 2, 3]),
        ("rounds=2,picks=1", [1]),
    ],
)
def test_reference(eta, options, sizes):
    recorded = make_recorded()
    found = SCORES.make(f"glister:eta={eta},{options}").compute(make_run(), **recorded).numpy()
    assert found.dtype == np.float64 and np.isnan(found[UNSEEN]).all()
    assert as_order(found) == plain(recorded, ROWS, eta, sizes)


def test_the_update_matters_with_the_default_step_too():
    recorded = make_recorded()
    for name in ("embedding", "val_embedding"):
        recorded[name] = 5 * recorded[name]
    orders = [
        as_order(SCORES.make(spec).compute(make_run(), **recorded).numpy())
        for spec in ("glister", "glister:eta=0")
    ]
    assert orders[0] != orders[1] and orders[0][0] == orders[1][0]
    assert SCORES.make("glister").eta == 0.1 / 128


@pytest.mark.parametrize("rounds", [1, 2, 15, 1000])
def test_no_round_is_larger_than_its_share_of_any_budget(rounds):
    for picks in (1, 14, 15, 16, 997):
        sizes = list(round_sizes(rounds, picks))
        assert sum(sizes) == picks
        done = 0
        for size in sizes:
            assert size == 1 or size <= (done + 1) / rounds
            done += size
    assert len(list(round_sizes(15, 50_000))) < 160


def test_row_order_does_not_matter():
    turn = np.random.default_rng(0).permutation(len(KEYS))
    recorded = make_recorded(3)
    # Copies of the same class.
    for name in ("embedding", "logits"):
        recorded[name][[7, 11]] = recorded[name][[5, 5]]
    turned = {name: value if name.startswith("val") else value[turn] for name, value in recorded.items()}
    for spec in ("glister", "glister:rounds=2,picks=10"):
        straight = SCORES.make(spec).compute(make_run(), **recorded)
        other = SCORES.make(spec).compute(make_run(LABELS[turn], [KEYS[row] for row in turn]), **turned)
        assert torch.equal(other.nan_to_num(-1), straight[turn].nan_to_num(-1))
        # Of equal gains the first hash goes first.
        copies = in_hash_order(KEYS, [5, 7, 11])
        assert straight[copies].tolist() == sorted(straight[copies].tolist())


def test_samples_that_gain_nothing_and_none_at_all():
    recorded = make_recorded()
    recorded["val_logits"] = 1e4 * F.one_hot(torch.from_numpy(VALIDATION), 4).float()
    found = SCORES.make("glister").compute(make_run(), **recorded).numpy()
    assert as_order(found) == ROWS
    recorded["embedding"].fill_(float("nan"))
    found = SCORES.make("glister").compute(make_run(), **recorded)
    assert found.isnan().all() and len(found) == 31


@pytest.mark.parametrize("spec", ["eta=-0.1", "eta=inf", "eta=nan", "rounds=0", "rounds=-2"])
def test_wrong_parameters(spec):
    with pytest.raises(UsageError, match=f"glister:{spec} .*give"):
        SCORES.make(f"glister:{spec}").recorders(5)


def test_it_watches_validation_data():
    watched = SCORES.make("glister").recorders(7)
    assert all(recorder.epochs == {7} for recorder in watched.values())
    for name, recorder in watched.items():
        assert recorder.phase is (Phase.VALIDATION if name.startswith("val") else Phase.PROBE)
        assert (Field.EMBEDDING in recorder.fields) == name.endswith("embedding")
        assert (Field.LOGITS in recorder.fields) == name.endswith("logits")
    assert len(set(watched.values())) == 5
