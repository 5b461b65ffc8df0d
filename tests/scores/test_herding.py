"""Herding by hand, and against the formula itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from embedded import in_hash_order

from dprune_cli.scores.base import SCORES
from dprune_cli.scores.herding import order_herd
from dprune_cli.train.observe import RunInfo

SIZES = (17, 9, 4, 1)
LABELS = np.repeat(np.arange(4), SIZES)
KEYS = [f"some/key{row}" for row in range(len(LABELS))]
UNSEEN = [0, 22]


def make_run(labels=LABELS, keys=KEYS):
    return RunInfo(keys, torch.as_tensor(labels).long(), 4, 5)


def make_embedding(seed=0, width=4):
    features = np.random.default_rng(seed).normal(size=(len(LABELS), width)).astype(np.float32)
    features[UNSEEN] = np.nan
    return torch.from_numpy(features)


def plain(features, rows, picks):
    x, order, left = np.float64(features), [], list(rows)
    mean = x[rows].mean(0)

    while True:
        wanted = (len(order) + 1) * mean - x[order].sum(0)
        off = {row: np.linalg.norm(wanted - x[row]) for row in left}
        if not left or len(order) >= picks:
            return order + sorted(left, key=off.get)
        order.append(min(left, key=off.get))
        left.remove(order[-1])


def as_order(ranks):
    seen = np.flatnonzero(~np.isnan(ranks))
    assert sorted(ranks[seen]) == list(range(1, len(seen) + 1))
    return seen[np.argsort(ranks[seen])].tolist()


def test_by_hand():
    # Mean 5. 5 is off by 0; then of 10 - 5 - x: 6 is off by 1, as is 4 but 6 stands first here; then 4.
    embedding = torch.tensor([[0.0], [10.0], [6.0], [5.0], [4.0]])
    found = order_herd(embedding, 5).tolist()
    assert found == [3, 2, 4, 0, 1]
    # The farthest instead, as some codes have it, would begin with 0 or 10.
    run = RunInfo(list("abcde"), torch.zeros(5, dtype=torch.int64), 1, 3)
    score = SCORES.make("herding").compute(run, embedding=embedding)
    assert score[3] == 1 and sorted(score[[2, 4]].tolist()) == [2, 3] and score.dtype == torch.float64


def test_sums_stay_near_the_mean():
    # Picks in pairs around the mean: after 2 t picks the sum is 2 t times the mean.
    x = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2], [3, 3], [-3, -3]]) + 7
    order = order_herd(x, 6)
    assert order.tolist()[:4] == [0, 1, 2, 3]
    for count in (2, 4, 6):
        assert x[order[:count]].mean(0).tolist() == [7, 7]


@pytest.mark.parametrize("picks", ["100%", "40%", "5"])
def test_reference(picks):
    embedding = make_embedding()
    rows = in_hash_order(KEYS, [row for row in range(len(KEYS)) if row not in UNSEEN])
    score = SCORES.make(f"herding:per_class=false,picks={picks}")
    found = score.compute(make_run(), embedding=embedding).numpy()
    count = {"100%": 29, "40%": 12}.get(picks) or int(picks)
    assert np.isnan(found[UNSEEN]).all()
    assert as_order(found) == plain(embedding.numpy(), rows, count)


def test_a_longer_order_whose_picks_are_taken_out_of_the_copy():
    x = torch.randn(120, 6, generator=torch.Generator().manual_seed(0)) + 3
    for picks in (20, 70, 119, 120):
        assert order_herd(x, picks).tolist() == plain(x.numpy(), list(range(120)), picks)


@pytest.mark.parametrize("picks", ["100%", "50%"])
def test_every_class_by_itself(picks):
    embedding = make_embedding(1)
    rows = in_hash_order(KEYS, [row for row in range(len(KEYS)) if row not in UNSEEN])
    found = SCORES.make(f"herding:picks={picks}").compute(make_run(), embedding=embedding).numpy()
    order = as_order(found)
    held = 29 if picks == "100%" else 15
    for c, size in enumerate((16, 8, 4, 1)):
        members = [row for row in rows if LABELS[row] == c]
        mine = [row for row in order if LABELS[row] == c]
        share = sum(LABELS[row] == c for row in order[:held])
        assert mine == plain(embedding.numpy(), members, share)
        # The r-th of n_c stands where (r - 1/2) / n_c sorts it, classes in turn where that is equal.
        for number, row in enumerate(mine):
            place = (number + 0.5) / size
            before = sum(
                (r + 0.5) / n < place - 1e-12 or (abs((r + 0.5) / n - place) < 1e-12 and other < c)
                for other, n in enumerate((16, 8, 4, 1))
                for r in range(n)
            )
            assert found[row] == before + 1


def test_row_order_does_not_matter():
    embedding, turn = make_embedding(2), np.random.default_rng(0).permutation(len(KEYS))
    embedding[7], embedding[11] = embedding[5], embedding[5]
    for spec in ("herding", "herding:per_class=false,picks=30%"):
        straight = SCORES.make(spec).compute(make_run(), embedding=embedding)
        turned = SCORES.make(spec).compute(
            make_run(LABELS[turn], [KEYS[row] for row in turn]), embedding=embedding[turn]
        )
        assert torch.equal(turned.nan_to_num(-1), straight[turn].nan_to_num(-1))


def test_a_mean_far_from_zero_hides_nothing():
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(4))
    # What float32 keeps of the shifted features is what both see.
    far = (x + 4096).double()
    assert order_herd(far.float(), 200).tolist() == plain(far.numpy(), list(range(200)), 200)


def test_copies_and_none_at_all():
    for count in (1, 5):
        assert sorted(order_herd(torch.ones(count, 2), count).tolist()) == list(range(count))
    found = SCORES.make("herding").compute(make_run(), embedding=torch.full((31, 2), float("nan")))
    assert found.isnan().all() and len(found) == 31
