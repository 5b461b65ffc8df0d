from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_data import CLASSES, SIZES, make_keys

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import BudgetError
from dprune_cli.core.progress import Silent
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.io.keys import draw_seed, hash_keys
from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.stages.select import SelectRequest, select
from dprune_cli.train.observe import RunInfo

KEYS = make_keys()
LABELS = np.repeat(range(4), SIZES)
# A whole class cannot be used, and some of two others.
BROKEN = [0, 3, 25, 38, 39]


def started(visits, seed=0, keys=KEYS, labels=LABELS, epochs=5):
    sampler = SAMPLERS.make("random")
    sampler.start(RunInfo(keys, torch.as_tensor(labels), 4, epochs, seed), visits)
    return sampler


def plan(sampler, epoch=1):
    return sampler.plan(epoch, numpy_rng(0, "sampler", epoch)).rows


def selected(keep, seed, labels=LABELS):
    """The rows that `select --by random` keeps."""
    status = np.where(labels < 0, "decode_error", "ok")
    data = pa.table({"key": KEYS, "label": np.maximum(labels, 0), "status": status})
    request = SelectRequest(by="random", keep=parse_budget(keep), seed=seed)
    return np.flatnonzero(select(ScoreTable(data, TableMeta(classes=CLASSES)), request, Silent()).keep)


@pytest.mark.parametrize("seed", [0, 1, 77])
@pytest.mark.parametrize("keep", ["0.3", "2", "17", "99%", "1.0"])
@pytest.mark.parametrize("broken", [[], BROKEN])
def test_it_visits_what_select_by_random_keeps(keep, seed, broken):
    labels = LABELS.copy()
    labels[broken] = -1
    visits = parse_budget(keep).count(len(KEYS) - len(broken))
    rows = plan(started(visits, seed, labels=labels))
    assert rows.tolist() == selected(keep, seed, labels).tolist()
    assert len(rows) == visits and not set(rows) & set(broken)


def test_it_visits_the_smallest_hashes():
    hashes = hash_keys(KEYS, draw_seed(4, hash_keys(KEYS)))
    assert set(plan(started(11, seed=4)).tolist()) == set(sorted(range(40), key=lambda row: hashes[row])[:11])


def test_all_epochs_visit_the_same():
    sampler = started(13)
    first = plan(sampler).tolist()
    assert all(plan(sampler, epoch).tolist() == first for epoch in range(2, 6))
    assert plan(started(13, epochs=200)).tolist() == first


def test_seeds_give_other_subsets_and_larger_ones_hold_the_smaller():
    subsets = [frozenset(plan(started(12, seed)).tolist()) for seed in range(30)]
    assert len(set(subsets)) == 30
    # 30 draws of 12 of 40: every sample is in 9 of them on average, with a deviation of 2.5.
    count = np.bincount([row for subset in subsets for row in subset], minlength=40)
    assert count.sum() == 360 and np.abs(count - 9).max() < 4 * 2.51
    assert all(subset < set(plan(started(20, seed)).tolist()) for seed, subset in enumerate(subsets))


def test_the_order_of_samples_does_not_matter():
    """The same keys, whatever their rows."""
    order = np.random.default_rng(0).permutation(40)
    keys = [KEYS[row] for row in order]
    found = {keys[row] for row in plan(started(13, keys=keys, labels=LABELS[order]))}
    assert found == {KEYS[row] for row in plan(started(13))}


def test_a_resumed_run_visits_the_same():
    before, after = started(13), started(13)
    after.state["rows"] = before.state["rows"].clone()
    assert plan(after, 3).tolist() == plan(before, 2).tolist()


def test_one_sample_is_too_few():
    with pytest.raises(
        BudgetError,
        match="random visits at least 2 in every epoch",
    ):
        started(1)
