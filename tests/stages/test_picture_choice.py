"""Which samples are shown, on a table whose ranks are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from toy_selection import KEYS, STATUS, toy_selection, toy_table

from dprune_cli.stages.picture_choice import (
    Shares,
    choose_rows,
    kinds_of_predictions,
    kinds_of_selection,
    share_room,
    strata_of,
)


def chosen(found, each=9, by="class", keys=KEYS):
    kinds = kinds_of_selection(found)
    strata = strata_of(found.table, by)
    shares = Shares(list(range(len(strata.names))), len(kinds), each, len(strata.names))
    rows = choose_rows(found.table, strata, kinds, shares)
    return {(number, kind): [keys[row] for row in rows[number, kind]][:each] for number, kind in rows}


def test_samples_of_every_kind_and_class_in_their_order():
    found = chosen(toy_selection())
    assert found[0, "hardest kept"] == ["k07", "k06", "k05", "k04"]
    assert found[0, "easiest dropped"] == ["k00", "k01", "k02", "k03"]
    assert found[0, "just kept"] == ["k04", "k05", "k06", "k07"]
    assert found[0, "just dropped"] == ["k03", "k02", "k01", "k00"]
    assert found[0, "suspected label errors"][:4] == ["k02", "k07", "k06", "k05"]
    assert found[1, "hardest kept"] == ["k11"]
    assert found[1, "just dropped"] == ["k10", "k09", "k08"]
    assert found[1, "suspected label errors"] == ["k09", "k11", "k10", "k08"]
    # A class with one sample, and one with none.
    assert found[2, "hardest kept"] == found[2, "suspected label errors"] == ["k12"]
    assert (2, "easiest dropped") not in found and not any(number == 3 for number, _ in found)


def test_the_hard_end_may_be_the_low_one():
    found = chosen(toy_selection("3", by="margin"))
    assert found[0, "hardest kept"] == ["k01", "k00"]
    assert found[0, "easiest dropped"][:2] == ["k03", "k04"]


def test_only_a_random_selection_says_that_hardness_sorts_but_did_not_choose():
    for found, drawn in (
        (toy_selection(), False),
        (toy_selection(by="random"), True),
        (toy_selection(pick="random"), True),
        (toy_selection(pick="weighted"), False),
    ):
        hardest, easiest, *_ = kinds_of_selection(found)
        for kind, said in ((hardest, "the hardest: high"), (easiest, "the easiest: the other end of high")):
            assert ("drawn at random" in kind.meaning) == drawn and said in kind.meaning
        assert ("grade only sorts these pictures" in hardest.meaning) == drawn


def test_a_random_selection_goes_by_another_score_and_has_no_cut():
    assert {kind for _, kind in chosen(toy_selection(by="random"))} == {
        "hardest kept",
        "easiest dropped",
        "suspected label errors",
    }


def test_without_any_score_some_of_each_are_drawn():
    found = chosen(toy_selection(by="random", table=toy_table({})), each=3)
    assert {kind for _, kind in found} == {"kept", "dropped"}
    assert len(found[0, "kept"]) <= 3 and set(found[0, "kept"]) <= set(KEYS[:8])
    # What cannot be used is not dropped.
    assert not any("k13" in keys for keys in found.values())


def test_the_order_of_rows_changes_nothing_even_if_all_values_are_equal():
    same = pa.array([1.0] * 14)
    results = []
    for seed in (None, 1, 2):
        order = np.arange(14) if seed is None else np.random.default_rng(seed).permutation(14)
        found = toy_selection(table=toy_table(grade=same, margin=same, order=order))
        results.append(chosen(found, 3, keys=[KEYS[row] for row in order]))
    assert results[0] == results[1] == results[2]


def test_samples_without_a_value_are_not_shown_as_hard():
    nothing = pa.array([None] * 14, pa.float32())
    found = chosen(toy_selection(by="random", table=toy_table(grade=nothing, margin=nothing)))
    assert found == {}


def test_groups_and_tables_without_labels():
    groups = chosen(toy_selection(), by="group")
    assert groups[0, "hardest kept"] == ["k12", "k06", "k04"] and groups[1, "hardest kept"][0] == "k07"
    found = toy_selection(table=toy_table(drop=("label",)))
    assert strata_of(found.table, "class").names == ["all"]
    assert chosen(found)[0, "hardest kept"][:2] == ["k12", "k07"]


def test_confident_mistakes_and_what_is_barely_right():
    loss = pa.array([float(row) for row in range(13)] + [None], pa.float32())
    table = toy_table(loss=loss)
    ok = np.array(STATUS) == "ok"
    right = ok & (np.arange(14) % 3 == 0)
    kinds = kinds_of_predictions(table, right)
    found = choose_rows(table, strata_of(table, "class"), kinds, Shares([0, 1, 2], 2, 2, 3))
    assert found[0, "confident mistakes"] == [7, 5, 4, 2] and found[0, "barely right"] == [6, 3, 0]
    assert found[2, "barely right"] == [12] and (2, "confident mistakes") not in found


@pytest.mark.parametrize(
    ("strata", "kinds"), [(1, 1), (10, 5), (240, 5), (1000, 5), (1200, 5), (5000, 5), (7, 3)]
)
def test_the_room_is_never_overdrawn(strata, kinds):
    shares = share_room(range(strata), kinds, 1200)
    assert 0 < shares.most <= 1200 and shares.each >= 1
    assert len(shares.strata) == strata or strata > 1200
