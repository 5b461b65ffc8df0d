"""What every picker keeps of a table: exact numbers, quotas, cutoff, whatever the order of rows."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from toy_stages import Told, column, table_bytes

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.core.seeds import derive
from dprune_cli.io.keys import draw_seed, hash_keys
from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.pickers.base import PICKERS
from dprune_cli.stages.select import SelectRequest, select

SIZES = (60, 25, 10, 5)
N = sum(SIZES)
KEYS = [f"k{number:03}" for number in range(N)]
LABELS = np.repeat(range(4), SIZES)
GROUPS = np.arange(N) % 3
GRADES = np.random.default_rng(0).exponential(size=N).round(2)
AUM = np.random.default_rng(1).integers(-9, 9, N).astype(float)
CLASSES = ["ant", "bee", "cat", "dog"]
SCORES = {
    "grade": {"keep_first": "high", "hard_end": "high"},
    "aum": {"keep_first": "high", "hard_end": "low"},
}
CUT = "stratified:bins=8,cutoff=0.25"
PICKS = [*PICKERS.names(), CUT, "weighted:temperature=0.2", "top:end=low"]


def make(order=None, steps=(), **columns):
    data = pa.table({"key": KEYS, "label": LABELS, "group": GROUPS, "grade": GRADES, "aum": AUM, **columns})
    meta = TableMeta(classes=CLASSES, groups=["x", "y", "z"], scores=SCORES, steps=list(steps))
    return ScoreTable(data if order is None else data.take(pa.array(order)), meta, "T")


def run(table, keep=None, progress=None, **options):
    options = {"by": "grade", **options}
    request = SelectRequest(keep=None if keep is None else parse_budget(str(keep)), **options)
    return select(table, request, progress or Told()).table


def kept(table):
    return {row["key"] for row in table.data.to_pylist() if row["keep"]}


def count_reasons(table):
    found = column(table, "reason")
    return {reason: found.count(reason) for reason in set(found)}


# --- every picker


@pytest.mark.parametrize("pick", PICKS)
def test_a_global_budget_is_exact(pick):
    for keep in (1, 2, 17, 50, 74, 75):
        assert len(kept(run(make(), keep, pick=pick))) == keep
    for keep, count in (("0.125", 13), ("33.3%", 33), ("0.005", 1)):
        assert len(kept(run(make(), keep, pick=pick))) == count


@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("by", ["class", "group"])
def test_quotas_are_exact(pick, by):
    stratum, quotas = (LABELS, [31, 1, 0, 3]) if by == "class" else (GROUPS, [0, 25, 13])
    table = make(steps=[{"command": "quota", "options": {"by": by}}], quota=np.array(quotas)[stratum])
    keep = np.array(column(run(table, pick=pick), "keep"))
    assert np.bincount(stratum[keep], minlength=len(quotas)).tolist() == quotas
    assert len(kept(run(table, 38, pick=pick, everywhere=True))) == 38


@pytest.mark.parametrize("pick", PICKS)
def test_a_stratum_is_picked_from_whatever_the_others_keep(pick):
    table = make(quota=np.array([31, 6, 4, 3])[LABELS])
    found = kept(run(table, pick=pick))
    for label, quota in enumerate([31, 6, 4, 3]):
        rows = np.flatnonzero(label == LABELS)
        alone = make(quota=np.where(label == LABELS, quota, 0))
        assert kept(run(alone, pick=pick)) == found & {KEYS[row] for row in rows}


@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("quota", [False, True])
def test_the_order_of_rows_does_not_matter(pick, quota):
    columns = {"quota": np.array([31, 6, 4, 3])[LABELS]} if quota else {}
    results = {}
    for seed in (0, 1):
        for number in range(3):
            order = np.random.default_rng(number).permutation(N) if number else None
            table = run(make(order, **columns), None if quota else 44, pick=pick, seed=seed)
            reasons = dict(zip(column(table, "key"), column(table, "reason"), strict=True))
            assert results.setdefault(seed, reasons) == reasons
    assert results[0] != results[1] or pick.startswith("top")


@pytest.mark.parametrize("pick", PICKS)
def test_samples_without_status_or_score_are_never_picked(pick):
    status = np.where(np.arange(N) % 4 == 1, "duplicate", "ok").tolist()
    keys = [KEYS[row - 1] if row % 4 == 1 else KEYS[row] for row in range(N)]
    grade = pa.array(GRADES, mask=np.arange(N) % 10 == 0)
    if pick == "random":
        grade = pa.array(GRADES)  # which it does not look at
    table = make(status=status, key=keys, grade=grade)
    usable = [row for row in range(N) if status[row] == "ok" and (pick == "random" or row % 10)]
    budget = 40 if pick == CUT else len(usable)
    result = run(table, budget, pick=pick)
    rows = np.flatnonzero(column(result, "keep"))
    assert len(rows) == budget and set(rows) <= set(usable)
    assert count_reasons(result)["status"] == 25
    assert count_reasons(result).get("no_score", 0) == N - 25 - len(usable)


def test_steps_say_how_it_was_picked():
    step = run(make(), 20, pick="weighted:temperature=0.5").meta.last_step("select")
    assert step == {
        "by": "grade",
        "pick": "weighted",
        "parameters": {"end": "high", "temperature": 0.5},
        "keep": "20",
        "seed": 0,
    }
    step = run(make(), 20, pick=CUT).meta.last_step("select")
    parameters = {"bins": 8, "cutoff": 0.25, "cutoff_by": "aum", "cutoff_end": None}
    assert step["parameters"] == parameters
    assert step["cutoff"] == {"by": "aum", "end": "low", "samples": 25}
    assert table_bytes(run(make(), 20, pick=CUT)) == table_bytes(run(make(), 20, pick=CUT))


# --- ends


@pytest.mark.parametrize("end", ["high", "low", "middle", "hard", "easy"])
def test_an_end_for_a_picker_that_keeps_none(end):
    for pick in ("stratified", CUT, "random"):
        with pytest.raises(
            UsageError, match=r"--pick (stratified|random) keeps no end of a column; drop --end"
        ):
            run(make(), 5, pick=pick, end=end)


def test_an_end_that_is_given_twice():
    with pytest.raises(UsageError, match="--end high and end=low of --pick: give one of them"):
        run(make(), 5, pick="top:end=low", end="high")


def test_weighted_draws_have_no_middle():
    with pytest.raises(UsageError, match="prefers one end of a column, not the middle"):
        run(make(), 5, pick="weighted", end="middle")


def test_which_end_is_kept_is_guessed_only_where_it_matters():
    plain = ScoreTable(make().data, TableMeta(), "T")
    for pick, count in (("top", 1), ("weighted", 1), ("top:end=low", 0), ("stratified", 0), ("random", 0)):
        told = Told()
        run(plain, 5, told, pick=pick)
        assert len([line for line in told.notes if "which end" in line]) == count


def test_weighted_draws_prefer_the_end_that_is_kept():
    means = {
        end: np.mean(
            [
                GRADES[column(run(make(), 20, pick="weighted", end=end, seed=seed), "keep")].mean()
                for seed in range(9)
            ]
        )
        for end in ("hard", "easy")
    }
    assert means["hard"] > GRADES.mean() + 0.1 and means["easy"] < GRADES.mean() - 0.1


# --- the hard cutoff


def slow_cut(rows, share, values, low, seed, among=KEYS):
    """The hardest of some rows, by sorting all of them."""
    hashes = hash_keys(KEYS, derive(draw_seed(seed, hash_keys(among)), "cutoff"))
    order = sorted(rows, key=lambda row: (values[row] if low else -values[row], hashes[row]))
    return {KEYS[row] for row in order[: math.floor(share * len(rows) + 0.5)]}


@pytest.mark.parametrize("share", [0.25, 0.125, 0.5])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_hardest_are_cut_from_the_whole(share, seed):
    told = Told()
    result = run(make(), 10, told, pick=f"stratified:cutoff={share}", seed=seed)
    cut = {row["key"] for row in result.data.to_pylist() if row["reason"] == "cutoff"}
    assert cut == slow_cut(range(N), share, AUM, True, seed)
    assert f"left out {len(cut)} of 100 samples, the hardest by 'aum' (low end)" in told.notes
    assert count_reasons(result) == {None: 10, "cutoff": len(cut), "rank": 90 - len(cut)}


def test_the_hardest_are_cut_from_every_stratum():
    # 0.5 of 5 is 2.5 and becomes 3, of 25 it becomes 13.
    result = run(make(quota=np.array([30, 12, 5, 2])[LABELS]), pick="stratified:cutoff=0.5")
    cut = {row["key"] for row in result.data.to_pylist() if row["reason"] == "cutoff"}
    rows = [np.flatnonzero(label == LABELS).tolist() for label in range(4)]
    assert cut == set.union(*(slow_cut(own, 0.5, AUM, True, 0) for own in rows))
    assert len(cut) == 30 + 13 + 5 + 3 and len(kept(result)) == 49


def test_shares_are_decimals():
    """0.29 * 50 is 14.499999999999998 in floating point, and half of a sample is rounded up."""
    assert count_reasons(run(make(np.arange(50)), 5, pick="stratified:cutoff=0.29"))["cutoff"] == 15


def test_bins_are_of_what_the_cutoff_leaves():
    """One outlier, which is hard: without the cutoff it would take half of two bins' budget."""
    values = np.linspace(0, 1, N)
    values[7] = 1000.0
    table = make(grade=values, aum=-values)
    plain = run(table, 40, pick="stratified:bins=2")
    assert KEYS[7] in kept(plain)
    result = run(table, 40, pick="stratified:bins=2,cutoff=0.01")
    assert column(result, "reason")[7] == "cutoff"
    rows = np.flatnonzero(column(result, "keep"))
    assert (values[rows] < 0.5).sum() == 20


@pytest.mark.parametrize("by", ["aum", "grade", "other"])
@pytest.mark.parametrize("end", ["high", "low"])
def test_the_hard_end(by, end):
    table = make(other=AUM % 5)
    values = {"aum": AUM, "grade": GRADES, "other": AUM % 5}[by]
    pick = f"stratified:cutoff=0.25,cutoff_by={by}"
    result = run(table, 10, pick=f"{pick},cutoff_end={end}")
    cut = {row["key"] for row in result.data.to_pylist() if row["reason"] == "cutoff"}
    assert cut == slow_cut(range(N), 0.25, values, end == "low", 0)
    if by == "other":
        with pytest.raises(UsageError, match=r"T does not say which end of 'other' is hard; add cutoff_end="):
            run(table, 10, pick=pick)
    else:
        known = {"aum": "low", "grade": "high"}[by]
        same = kept(run(table, 10, pick=pick)) == kept(result)
        assert same == (known == end)


def test_samples_that_cannot_be_called_hard_stay():
    missing = np.arange(N) % 2 == 0
    table = make(aum=pa.array(AUM, mask=missing))
    result = run(table, 80, pick="stratified:cutoff=0.4")
    reasons = np.array(column(result, "reason"), dtype=object)
    # 0.4 of the 50 samples that have a value.
    assert (reasons == "cutoff").sum() == 20 and not (reasons[missing] == "cutoff").any()
    assert set(KEYS) - kept(result) == slow_cut(np.flatnonzero(~missing).tolist(), 0.4, AUM, True, 0)


def test_only_candidates_are_cut():
    status = np.where(AUM < -5, "decode_error", "ok").tolist()
    rows = np.flatnonzero(AUM >= -5).tolist()
    result = run(make(status=status), 10, pick="stratified:cutoff=0.3")
    cut = {row["key"] for row in result.data.to_pylist() if row["reason"] == "cutoff"}
    assert cut == slow_cut(rows, 0.3, AUM, True, 0, [KEYS[row] for row in rows])


def test_ties_at_the_cut_leave_random_picks_even():
    """All hardness is equal: who is cut must not say who of the rest is picked."""
    table = make(aum=np.zeros(N), grade=np.zeros(N))
    result = run(table, 25, pick="stratified:cutoff=0.5")
    hashes = hash_keys(KEYS, draw_seed(0, hash_keys(KEYS)))
    rank = np.argsort(np.argsort(hashes))
    reasons = np.array(column(result, "reason"), dtype=object)
    assert 35 < rank[reasons == "cutoff"].mean() < 65


@pytest.mark.parametrize(
    ("columns", "keep", "said"),
    [
        (
            {},
            71,
            "T: 71 samples of 'the data set' are to be kept, but only 70 can be picked; the cutoff leaves",
        ),
        (
            {"quota": np.array([40, 18, 8, 3])[LABELS]},
            None,
            "T: 18 samples of 'bee' are to be kept, but only 17 can be picked; the cutoff leaves out 8",
        ),
    ],
)
def test_a_cutoff_that_leaves_too_few(columns, keep, said):
    with pytest.raises(BudgetError, match=said):
        run(make(**columns), keep, pick="stratified:cutoff=0.3")


def test_a_cutoff_by_a_bad_column():
    with pytest.raises(DataError, match="T: there is no column 'margin' to cut the hardest by; name one"):
        run(make(), 5, pick="stratified:cutoff=0.1,cutoff_by=margin")
    with pytest.raises(DataError, match="column 'key' holds string, not numbers"):
        run(make(), 5, pick="stratified:cutoff=0.1,cutoff_by=key,cutoff_end=low")
    with pytest.raises(DataError, match="column 'aum' holds 1 NaN"):
        run(make(aum=[float("nan"), *AUM[1:]]), 5, pick="stratified:cutoff=0.1")
    # Nobody looks at it without a cutoff.
    assert len(kept(run(make().without("aum"), 5, pick="stratified"))) == 5
