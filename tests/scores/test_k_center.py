"""k-center greedy by hand, and against the plain algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from embedded import in_hash_order

from dprune_cli.core.errors import UsageError
from dprune_cli.scores import k_center
from dprune_cli.scores._greedy import count_picks, merge, parse_picks
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import Field, Phase, RunInfo

SIZES = (17, 9, 4, 1)
LABELS = np.repeat(np.arange(4), SIZES)
KEYS = [f"some/key{row}" for row in range(len(LABELS))]
UNSEEN = [3, 20]


def make_run(labels=LABELS, keys=KEYS, seed=0):
    return RunInfo(keys, torch.as_tensor(labels).long(), 4, 5, seed)


def make_embedding(seed=0, width=3):
    features = np.random.default_rng(seed).normal(size=(len(LABELS), width)).astype(np.float32)
    features[UNSEEN] = np.nan
    return torch.from_numpy(features)


def plain(features, rows, picks):
    """Rows in the order of the paper's algorithm, one after the other, all in double precision."""
    x = np.float64(features)[rows]
    order = [int(np.argmin(((x - x.mean(0)) ** 2).sum(1)))]
    left = [row for row in range(len(rows)) if row != order[0]]
    far = np.full(len(rows), np.inf)
    while True:
        far = np.minimum(far, ((x - x[order[-1]]) ** 2).sum(1))
        if not left or len(order) >= picks:
            return [rows[row] for row in order + sorted(left, key=lambda row: -far[row])]
        order.append(max(left, key=lambda row: far[row]))
        left.remove(order[-1])


def merged_by_budget(orders):
    """One order in which the next of all is of the class that Webster's method gives the next seat."""
    left = {c: list(order) for c, order in orders.items()}
    total, out = {c: len(order) for c, order in left.items()}, []
    while any(left.values()):
        open_classes = [c for c in sorted(left) if left[c]]
        c = max(open_classes, key=lambda c: (total[c] / (total[c] - len(left[c]) + 0.5), -c))
        out.append(left[c].pop(0))
    return out


def as_order(ranks):
    seen = np.flatnonzero(~np.isnan(ranks))
    assert sorted(ranks[seen]) == list(range(1, len(seen) + 1))
    return seen[np.argsort(ranks[seen])].tolist()


def test_by_hand():
    # The mean is 4.2: start at 4; then 10 (6 away), 0 (4 away), 7 (3 away), and the copy of 4 last.
    embedding = torch.tensor([[0.0], [10.0], [4.0], [4.0], [7.0]])
    run = RunInfo([str(row) for row in range(5)], torch.zeros(5, dtype=torch.int64), 1, 3)
    found = SCORES.make("k_center").compute(run, embedding=embedding)
    assert sorted(found[2:4].tolist()) == [1, 5]
    assert found[[0, 1, 4]].tolist() == [3, 2, 4] and found.dtype == torch.float64
    # After two picks: 4 away, 3 away, 0 away.
    few = SCORES.make("k_center:picks=2").compute(run, embedding=embedding)
    assert few[[0, 1, 4]].tolist() == [3, 2, 4]
    # After one pick the rest goes by distance to it alone: 6, 4, 3.
    one = SCORES.make("k_center:picks=1").compute(run, embedding=embedding + 1)
    assert one.tolist() == found.tolist()


@pytest.mark.parametrize("picks", ["100%", "30%", "7", "1", "9999"])
@pytest.mark.parametrize("candidates", [1, 4, 512])
def test_reference(monkeypatch, picks, candidates):
    monkeypatch.setattr(k_center, "_CANDIDATES", candidates)
    embedding = make_embedding()
    rows = in_hash_order(KEYS, [row for row in range(len(KEYS)) if row not in UNSEEN])
    count = {"100%": 29, "30%": 9, "9999": 29}.get(picks) or int(picks)
    found = SCORES.make(f"k_center:picks={picks}").compute(make_run(), embedding=embedding).numpy()
    assert np.isnan(found[UNSEEN]).all()
    assert as_order(found) == plain(embedding.numpy(), rows, count)


def test_the_rest_goes_by_distance_to_the_picks():
    embedding = make_embedding()
    full, part = (
        as_order(SCORES.make(f"k_center:picks={picks}").compute(make_run(), embedding=embedding).numpy())
        for picks in ("100%", "5")
    )
    assert full[:5] == part[:5] and full != part


def test_many_points_with_many_equal_distances():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(900, 2, generator=generator)
    for x in (features, (features * 2).round(), features[torch.arange(900) // 3]):
        expected = plain(x.numpy(), list(range(900)), 60)
        assert k_center.order_centres(x, 60).tolist() == expected
        assert sorted(k_center.order_centres(x, 900).tolist()) == list(range(900))


@pytest.mark.parametrize("picks", ["100%", "40%", "6"])
def test_per_class(picks):
    embedding = make_embedding(1)
    rows = in_hash_order(KEYS, [row for row in range(len(KEYS)) if row not in UNSEEN])
    score = SCORES.make(f"k_center:per_class=true,picks={picks}")
    found = score.compute(make_run(), embedding=embedding).numpy()
    members = {c: [row for row in rows if LABELS[row] == c] for c in range(4)}
    full = merged_by_budget({c: plain(embedding.numpy(), rows, 99) for c, rows in members.items()})
    count = {"100%": 29, "40%": 12}.get(picks) or int(picks)
    # What is picked is what the picks of everything begin with.
    assert as_order(found)[:count] == full[:count]
    shares = [sum(LABELS[row] == c for row in full[:count]) for c in range(4)]
    expected = {
        c: plain(embedding.numpy(), rows, share)
        for (c, rows), share in zip(members.items(), shares, strict=True)
    }
    if min(shares) > 0:
        assert as_order(found) == merged_by_budget(expected)
    for budget in range(1, 30):
        sizes = np.array([16, 8, 4, 1])
        held = np.bincount(LABELS[as_order(found)[:budget]], minlength=4)
        assert (np.abs(held - budget * sizes / 29) < 1).all()


def test_row_order_does_not_matter():
    embedding, turn = make_embedding(2), np.random.default_rng(0).permutation(len(KEYS))
    embedding[7], embedding[11] = embedding[5], embedding[5]
    for spec in ("k_center", "k_center:per_class=true,picks=30%"):
        straight = SCORES.make(spec).compute(make_run(), embedding=embedding)
        turned = SCORES.make(spec).compute(
            make_run(LABELS[turn], [KEYS[row] for row in turn]), embedding=embedding[turn]
        )
        assert torch.equal(turned.nan_to_num(-1), straight[turn].nan_to_num(-1))


def test_copies_come_last_however_far_the_mean_is_from_zero():
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(40, 64, generator=generator) + 1000
    for batch in (base, base * 1e-6):
        # Rows 40 ... 119 are copies.
        order = k_center.order_centres(batch.repeat(3, 1), 120).tolist()
        assert sorted(row % 40 for row in order[:40]) == list(range(40))
        expected = plain(batch.numpy(), list(range(40)), 40)
        assert [row % 40 for row in order[:40]] == expected
        # They are 0 away, not a rounding error: the order of the points decides.
        assert order[40:] == sorted(order[40:])


def test_nothing_and_one_and_all_alike():
    for count in (1, 2, 6):
        run = RunInfo([f"k{row}" for row in range(count)], torch.zeros(count, dtype=torch.int64), 1, 3)
        found = SCORES.make("k_center").compute(run, embedding=torch.ones(count, 3))
        # All are equally near to the mean and to each other: the order of the hashes.
        assert as_order(found.numpy()) == in_hash_order(run.keys, list(range(count)))
    unseen = SCORES.make("k_center").compute(make_run(), embedding=torch.full((31, 3), float("nan")))
    assert unseen.isnan().all() and len(unseen) == 31


@pytest.mark.parametrize("method", ["k_center", "herding", "glister", "d2"])
@pytest.mark.parametrize("text", ["0", "0%", "1.5", "120%", "many", "-3"])
def test_wrong_picks(method, text):
    with pytest.raises(UsageError, match=f"{method}:picks.*{text}.*write") as caught:
        SCORES.make(f"{method}:picks={text}").recorders(5)
    assert "\n" not in str(caught.value) and "--keep" not in str(caught.value)


def test_how_many_picks():
    for text, available, expected in (
        ("100%", 7, 7), ("15%", 10, 2), ("0.15", 10, 2), ("1%", 10, 1), ("1", 10, 1),
        ("1.0", 10, 10), ("12", 10, 10), ("10%", 0, 0),
    ):  # fmt: skip
        assert count_picks(parse_picks("k_center", text), available) == expected


def test_merged_orders_hold_proportional_shares():
    orders = [torch.arange(size) + 100 * number for number, size in enumerate((7, 1, 3, 3, 50))]
    found = merge(orders).tolist()
    assert found == merged_by_budget({number: order.tolist() for number, order in enumerate(orders)})


def test_it_watches_the_clean_pass_at_the_end():
    (recorder,) = SCORES.make("k_center").recorders(9).values()
    assert recorder.phase is Phase.PROBE and recorder.epochs == {9} and recorder.fields == {Field.EMBEDDING}
