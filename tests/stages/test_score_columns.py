"""Which columns are scores, which of them mean difficulty, and what each would keep."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from toy_selection import GRADE, KEYS, LABELS, SCORES, toy_selection, toy_table

from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.metrics.agreement import spearman
from dprune_cli.stages import score_columns as module
from dprune_cli.stages.score_columns import (
    Difficulty,
    compare_kept,
    correlate_columns,
    find_difficulty,
    find_suspicion,
    score_columns,
)

LOSS = pa.array([1.0] * 14, pa.float32())


def test_columns_that_are_described_selected_by_or_losses_are_scores():
    table = toy_selection(table=toy_table(loss=LOSS, other=np.arange(14.0))).table
    assert score_columns(table) == ["grade", "margin", "loss"]
    foreign = toy_table(meta=TableMeta(), mine=np.arange(14.0))
    assert score_columns(foreign) == []
    assert score_columns(toy_selection(by="mine", table=foreign).table) == ["mine"]
    # Ids are none, whatever is selected by.
    for by in ("label", "group", "pred"):
        named = toy_table(pred=pa.array(LABELS, pa.int32()))
        assert score_columns(toy_selection(by=by, table=named).table) == ["grade", "margin"]


def test_what_was_selected_by_says_what_is_hard_else_aum_else_the_others():
    assert find_difficulty(toy_selection().table) == Difficulty("grade", "high")
    assert find_difficulty(toy_selection(by="margin").table) == Difficulty("margin", "low")
    known = {"aum": {"hard_end": "low"}, "grade": {"hard_end": "high"}, "visits": {"hard_end": None}}
    table = toy_table(known, aum=np.arange(14.0), visits=np.arange(14))
    assert find_difficulty(toy_selection(by="visits", table=table).table) == Difficulty("aum", "low")
    assert find_difficulty(toy_selection(by="random").table) == Difficulty("grade", "high")


def test_the_loss_is_hard_at_its_high_end_and_comes_last():
    plain = toy_table({}, loss=LOSS)
    assert find_difficulty(toy_selection(table=plain).table) == Difficulty("loss", "high")
    assert find_difficulty(toy_selection(table=toy_table({})).table) is None


def test_the_margin_raises_suspicion_else_the_loss():
    assert find_suspicion(toy_table(loss=LOSS)) == Difficulty("margin", "low")
    assert find_suspicion(toy_table({"grade": SCORES["grade"]}, loss=LOSS)) == Difficulty("loss", "high")
    assert find_suspicion(toy_table({"grade": SCORES["grade"]})) is None


def test_rank_correlation_is_over_what_both_columns_know():
    nothing = pa.array([None] * 14, pa.float32())
    broken = np.array([np.nan, *range(13)])
    table = toy_table({**SCORES, "nothing": {}, "broken": {}}, nothing=nothing, broken=broken)
    found = correlate_columns(table)
    assert found.columns == ["grade", "margin", "nothing", "broken"] and found.drawn is None
    assert found.correlation[0, 0] == 1 and np.isnan(found.correlation[2]).all()
    # Both know the rows from the second to the last but one.
    assert found.correlation[0, 3] == spearman(GRADE[1:13], range(12))
    assert correlate_columns(toy_table({"grade": {}})) is None


@pytest.mark.parametrize("label", [np.arange(2000) % 10, np.arange(2000) // 200], ids=["cyclic", "sorted"])
def test_of_many_rows_some_are_drawn_whatever_their_order(label, monkeypatch):
    """Columns that agree on the classes, and on nothing within a class."""
    monkeypatch.setattr(module, "MOST_RANKED", 200)
    spread = np.random.default_rng(0).random(2000)
    data = pa.table({"a": 10 * label + spread, "b": 10 * label - spread})
    table = ScoreTable(data, TableMeta(scores={"a": {}, "b": {}}))
    found = correlate_columns(table)
    assert found.drawn == 200 and found.correlation[0, 1] > 0.95
    assert np.array_equal(found.correlation, correlate_columns(table).correlation)
    ranked = []
    monkeypatch.setattr(module, "rank_correlations", ranked.extend)
    correlate_columns(table)
    assert [len(np.unique(values)) for values in ranked] == [200, 200]


def test_overlap_with_what_other_scores_would_keep():
    # By its own end, the margin keeps k00, k01, k08, k03 and two of k04, k10 and others at 1.0.
    known = {**SCORES, "lower": {"keep_first": "low"}, "few": {}}
    few = pa.array([1.0, 2.0] + [None] * 12)
    table = toy_table(known, lower=-np.array([one or 0 for one in GRADE]), few=few)
    found = compare_kept(toy_selection(table=table))
    assert found.columns == ["this selection", "margin", "lower"]
    assert found.overlap[0, 2] == found.overlap[2, 0] == 1.0
    kept = {"k04", "k05", "k06", "k07", "k11", "k12"}
    others = {KEYS[row] for row in np.flatnonzero(toy_selection(by="margin").keep)}
    assert found.overlap[0, 1] == pytest.approx(len(kept & others) / 6)
    assert found.left_out == {
        "few": "6 samples of 'the data set' are to be kept, but only 2 can be picked; 11 have no 'few': "
        "keep less, or go by another column"
    }


def test_overlap_is_within_the_same_quotas():
    table = toy_table(quota=np.array([2, 1, 1, 0])[LABELS])
    # By grade k07, k06; k11; k12. By margin k00, k01; k08; k12.
    assert compare_kept(toy_selection(None, table=table)).overlap[0, 1] == 0.25


def test_overlap_is_over_all_samples_where_quotas_were_ignored():
    table = toy_table(quota=np.array([2, 1, 1, 0])[LABELS])
    found = compare_kept(toy_selection(table=table, everywhere=True))
    # By grade k04 to k07, k11, k12; by margin k12, k00, k01, k08, k03, and k04 or k10.
    assert found.columns == ["this selection", "margin"] and found.overlap[0, 1] in (1 / 6, 2 / 6)


def test_ties_of_other_scores_are_broken_by_the_seed_of_the_selection():
    table = toy_table({**SCORES, "same": {}}, same=np.ones(14, np.float32))
    kept = {seed: toy_selection(by="same", table=table, seed=seed).keep for seed in (0, 3)}
    found = toy_selection(table=table, seed=3)
    shares = {seed: np.count_nonzero(found.keep & keep) / 6 for seed, keep in kept.items()}
    assert compare_kept(found).overlap[0, 2] == pytest.approx(shares[3]) and shares[0] != shares[3]


def test_there_is_nothing_to_compare_with():
    assert compare_kept(toy_selection(table=toy_table({}))) is None
