"""D2 by hand, and against a slow version with the whole matrix of distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dprune_cli.core.errors import UsageError
from dprune_cli.io.keys import hash_keys
from dprune_cli.scores.base import SCORES
from dprune_cli.scores.d2 import make_graph, pick_in_turn, send_forward
from dprune_cli.train.observe import RunInfo

SIZES = (17, 9, 4, 1)
LABELS = np.repeat(np.arange(4), SIZES)
KEYS = [f"some/key{row}" for row in range(len(LABELS))]
NO_EMBEDDING, NEVER_TRAINED = 4, 19
EPOCHS = 6


def make_run(labels=LABELS, keys=KEYS):
    return RunInfo(keys, torch.as_tensor(labels).long(), 4, EPOCHS)


def make_recorded(seed=0, width=3):
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(len(LABELS), width)).astype(np.float32)
    embedding[NO_EMBEDDING] = np.nan
    forgotten, learned = rng.integers(0, 4, len(LABELS)), rng.integers(0, 5, len(LABELS)) > 0
    learned = np.where(np.arange(len(LABELS)) == NEVER_TRAINED, -1, learned.astype(int))
    margins = rng.normal(1, 2, len(LABELS))
    margins[NEVER_TRAINED] = np.nan
    return {
        "embedding": torch.from_numpy(embedding),
        "transitions": torch.from_numpy(np.stack([forgotten * (learned == 1), learned])).int(),
        "margins": torch.from_numpy(margins),
    }


def in_hash_order(keys, rows):
    hashes = hash_keys([keys[row] for row in rows])
    return [rows[place] for place in np.argsort(hashes, kind="stable")]


ROWS = in_hash_order(KEYS, [row for row in range(len(KEYS)) if row not in (NO_EMBEDDING, NEVER_TRAINED)])


def plain(features, s, k, gamma, mode, picks):
    """Places in order; `features` and `s` of the points of one graph."""
    x, count = np.float64(features), len(features)
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
    near = np.zeros((count, count), bool)
    for i in range(count):
        others = sorted((j for j in range(count) if j != i), key=lambda j: distance[i, j])
        near[i, others[:k]] = True
    near |= near.T
    u = [
        s[i] + sum(math.exp(-distance[i, j]) * max(s[j], 1e-7) for j in range(count) if near[i, j])
        for i in range(count)
    ]
    order, left = [], list(range(count))
    while left and len(order) < picks:
        best = max(left, key=lambda i: u[i])
        order.append(best)
        left.remove(best)
        for j in left:
            if near[best, j]:
                u[j] -= math.exp(-gamma * distance[best, j]) * (u[best] if mode == "weighted" else 1)
    return order + sorted(left, key=lambda i: -u[i])


def difficulty(recorded, kind):
    forgotten, learned = recorded["transitions"].numpy()
    margins = recorded["margins"].numpy()
    if kind == "aum":
        return np.nanmax(margins[ROWS]) - margins
    return np.where(learned == 0, EPOCHS + 1.0, forgotten)


def compute(spec, recorded, run=None):
    score = SCORES.make(spec)
    wanted = score.recorders(EPOCHS)
    found = score.compute(run or make_run(), **{name: recorded[name] for name in wanted})
    assert found.dtype == torch.float64
    return found


def as_order(ranks):
    ranks = np.asarray(ranks)
    seen = np.flatnonzero(~np.isnan(ranks))
    assert sorted(ranks[seen]) == list(range(1, len(seen) + 1))
    return seen[np.argsort(ranks[seen])].tolist()


def test_by_hand():
    # On a line at 0, 1, 3 with k = 1: 0 - 1 and 1 - 3. s = 2, 1, 4.
    graph = make_graph(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    assert graph.starts.tolist() == [0, 1, 3, 4] and graph.ends.tolist() == [1, 0, 2, 1]
    assert graph.distances.tolist() == [1, 1, 2, 2]
    u = send_forward(np.array([2.0, 1.0, 4.0]), graph)
    e1, e2 = math.exp(-1), math.exp(-2)
    assert u == pytest.approx([2 + e1, 1 + 2 * e1 + 4 * e2, 4 + e2])  # 2.37, 2.28, 4.14
    # 3 goes first and takes exp(-0.2) 4.14 = 3.39 from 1, which then is at -1.11; then 0.
    assert pick_in_turn(u, graph, 0.1, "weighted", 3).tolist() == [2, 0, 1]
    # With gamma = 5 it takes next to nothing; with mode absolute 1 at most.
    assert pick_in_turn(np.array([2.0, 2.2, 4.0]), graph, 5, "weighted", 3).tolist() == [2, 1, 0]
    assert pick_in_turn(np.array([1.0, 2.2, 4.0]), graph, 0, "absolute", 3).tolist() == [2, 1, 0]
    assert pick_in_turn(np.array([1.0, 2.2, 4.0]), graph, 0, "weighted", 3).tolist() == [2, 0, 1]
    assert pick_in_turn(np.array([1.0, 2.2, 4.0]), graph, 0, "weighted", 0).tolist() == [2, 1, 0]


@pytest.mark.parametrize("kind", ["forgetting", "aum"])
@pytest.mark.parametrize("mode", ["weighted", "absolute"])
@pytest.mark.parametrize("options", [{}, {"k": 2, "gamma": 1.5}, {"picks": "8"}, {"k": 99}])
def test_reference_on_one_graph(kind, mode, options):
    recorded = make_recorded()
    extra = "".join(f",{name}={value}" for name, value in options.items())
    found = compute(f"d2:per_class=false,difficulty={kind},mode={mode}{extra}", recorded).numpy()
    assert np.isnan(found[[NO_EMBEDDING, NEVER_TRAINED]]).all()
    order = plain(
        recorded["embedding"].numpy()[ROWS],
        difficulty(recorded, kind)[ROWS],
        options.get("k", 5),
        options.get("gamma", 0.1),
        mode,
        int(options.get("picks", 99)),
    )
    assert as_order(found) == [ROWS[place] for place in order]


@pytest.mark.parametrize("kind", ["forgetting", "aum"])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.4])
def test_reference_by_class_without_the_mislabelled(kind, share):
    recorded = make_recorded(1)
    found = compute(f"d2:difficulty={kind},mislabelled={share}", recorded).numpy()
    dropped = round(share * len(ROWS))  # 0, 4.35, 11.6 of 29
    by_aum = sorted(ROWS, key=lambda row: recorded["margins"][row].item())
    order = as_order(found)
    assert order[len(ROWS) - dropped :] == by_aum[:dropped][::-1]
    pool = [row for row in ROWS if row not in by_aum[:dropped]]
    keyed = []
    for c in range(4):
        members = [row for row in pool if LABELS[row] == c]
        s = difficulty(recorded, kind)[members]
        places = plain(recorded["embedding"].numpy()[members], s, 5, 0.1, "weighted", 99)
        keyed += [((number + 0.5) / len(members), c, members[one]) for number, one in enumerate(places)]
    assert order[: len(pool)] == [row for _, _, row in sorted(keyed)]


def test_negative_messages_do_not_bring_picks_back():
    # One clique of copies: the first takes all of u from the others, later ones are at or below 0.
    graph = make_graph(torch.zeros(6, 2), 5)
    assert np.diff(graph.starts).tolist() == [5] * 6 and not graph.distances.any()
    order = pick_in_turn(np.array([3.0, 1, 2, 5, 4, 0]), graph, 0.1, "weighted", 6)
    assert sorted(order) == list(range(6)) and order[0] == 3
    assert order.tolist() == plain_clique([3.0, 1, 2, 5, 4, 0])


def plain_clique(u):
    order, left = [], list(range(len(u)))
    while left:
        best = max(left, key=lambda i: u[i])
        order.append(best)
        left.remove(best)
        for j in left:
            u[j] -= u[best]
    return order


def test_the_first_of_equally_near_points_is_the_neighbour():
    # Four copies and a point to which all are equally near.
    features = torch.tensor([[1.0], [1.0], [1.0], [1.0], [2.0]])
    graph = make_graph(features, 2)
    edges = {
        (owner, end)
        for owner in range(5)
        for end in graph.ends[graph.starts[owner] : graph.starts[owner + 1]].tolist()
    }
    assert edges == {
        pair
        for one, other in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4)]
        for pair in ((one, other), (other, one))
    }


def test_blocks_make_no_difference(monkeypatch):
    features = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    features[50:] = features[3]
    whole = make_graph(features, 4)
    monkeypatch.setattr("dprune_cli.scores.d2._CPU_DISTANCES", 7 * 60)
    monkeypatch.setattr("dprune_cli.scores._greedy._CPU_BLOCK", 11 * 4)
    parts = make_graph(features, 4)
    assert parts.ends.tolist() == whole.ends.tolist() and parts.starts.tolist() == whole.starts.tolist()
    np.testing.assert_allclose(parts.distances, whole.distances, rtol=1e-9, atol=1e-12)


def test_row_order_does_not_matter():
    turn = np.random.default_rng(0).permutation(len(KEYS))
    recorded = make_recorded(2)
    recorded["embedding"][[7, 11]] = recorded["embedding"][[5, 5]]
    turned = {name: value[..., turn] for name, value in recorded.items() if name != "embedding"}
    turned["embedding"] = recorded["embedding"][turn]
    run = make_run(LABELS[turn], [KEYS[row] for row in turn])
    for spec in ("d2", "d2:per_class=false,k=2,difficulty=aum", "d2:mislabelled=0.3,picks=30%"):
        straight, other = compute(spec, recorded), compute(spec, turned, run)
        assert torch.equal(other.nan_to_num(-1), straight[turn].nan_to_num(-1))


def test_of_equally_hard_samples_the_first_hash_goes_first():
    recorded = make_recorded()
    # So far apart that no message arrives.
    recorded["embedding"] *= 1e7
    hard, margins = difficulty(recorded, "forgetting"), recorded["margins"]
    left = sorted(sorted(ROWS, key=lambda row: margins[row].item())[3:], key=ROWS.index)
    found = compute("d2:per_class=false,mislabelled=0.1", recorded)
    assert as_order(found)[:26] == sorted(left, key=lambda row: -hard[row])
    assert len(set(hard[left])) < 6


def test_nobody_seen_and_almost_everybody_dropped():
    recorded = make_recorded()
    found = compute("d2:mislabelled=0.99", recorded)
    by_aum = sorted(ROWS, key=lambda row: -recorded["margins"][row].item())
    assert as_order(found) == by_aum
    recorded["embedding"].fill_(float("nan"))
    for spec in ("d2", "d2:difficulty=aum,mislabelled=0.2"):
        assert compute(spec, recorded).isnan().all()


@pytest.mark.parametrize(
    "spec", ["mislabelled=-0.1", "mislabelled=1.0", "mislabelled=nan", "k=0", "gamma=-1.0", "gamma=nan"]
)
def test_wrong_parameters(spec):
    with pytest.raises(UsageError, match=f"d2:{spec} .*give"):
        SCORES.make(f"d2:{spec}").recorders(5)


def test_it_watches_no_more_than_it_needs_and_shares_it():
    assert set(SCORES.make("d2").recorders(5)) == {"embedding", "transitions"}
    assert set(SCORES.make("d2:difficulty=aum").recorders(5)) == {"embedding", "margins"}
    everything = SCORES.make("d2:mislabelled=0.1").recorders(5)
    assert set(everything) == {"embedding", "transitions", "margins"}
    for name, argument in (("forgetting", "transitions"), ("aum", "margins"), ("k_center", "embedding")):
        assert everything[argument] == SCORES.make(name).recorders(5)[argument]
