"""What a training run leaves in its table, and selections by it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from tiny_data import CLASSES, SIZES, make_keys
from toy_stages import NET, Told, column, make_table, run_evaluate, run_train

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.io.table import read_table
from dprune_cli.stages.quota import QuotaRequest, quota
from dprune_cli.stages.select import SelectRequest, select
from dprune_cli.train.recorders import VisitLog

KEYS = make_keys()
LABELS = np.repeat(range(4), SIZES)
N, EPOCHS = len(KEYS), 3


@pytest.fixture(scope="module")
def runs(image_folder, tmp_path_factory):
    """One run a sampler that visits half of 40 samples an epoch, three times."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("rs2", "rcap", "random"):
        run_train([image_folder], folder / name, sampler=name, keep="0.5")
    return folder


def open_run(run):
    return read_table(str(run / "table.parquet"))


def pick(table, keep, progress=None, **options):
    return select(table, SelectRequest(keep=parse_budget(str(keep)), **options), progress or Told()).table


def kept(table):
    return np.flatnonzero(column(table, "keep"))


def top(values, count):
    """The least value that is kept, by sorting all."""
    return sorted(values, reverse=True)[count - 1]


@pytest.fixture
def losses(monkeypatch):
    """Every loss of every visit, by row."""
    seen = defaultdict(list)
    real = VisitLog.update

    def update(self, obs):
        for row, loss in zip(obs.index.tolist(), obs.loss.tolist(), strict=True):
            seen[row].append(loss)
        real(self, obs)

    monkeypatch.setattr(VisitLog, "update", update)
    return seen


# --- the columns


@pytest.mark.parametrize("name", ["rs2", "rcap", "random"])
def test_visits_sum_to_the_budget(runs, name):
    assert sum(column(open_run(runs / name), "visits")) == 0.5 * N * EPOCHS


def test_two_epochs_of_halves_are_a_pass(runs):
    """rs2 visits all 40 in the first two epochs, and 20 of them again in the third."""
    visits = np.array(column(open_run(runs / "rs2"), "visits"))
    assert np.bincount(visits).tolist() == [0, 20, 20]


@pytest.mark.parametrize("sampler", ["rcap", "random", None])
def test_the_mean_loss_is_that_of_all_visits(image_folder, tmp_path, losses, sampler):
    keep = None if sampler is None else "0.35"
    run_train([image_folder], tmp_path / "run", sampler=sampler, keep=keep)
    table = open_run(tmp_path / "run")
    assert 14 <= len(losses) <= N
    assert column(table, "visits") == [len(losses[row]) for row in range(N)]
    for row, (last, mean) in enumerate(zip(column(table, "loss"), column(table, "mean_loss"), strict=True)):
        if losses[row]:
            assert last == losses[row][-1]
            assert mean == pytest.approx(sum(losses[row]) / len(losses[row]), rel=1e-6)
        else:
            assert last is None and mean is None
    kinds = {name: table.data.schema.field(name).type for name in ("visits", "loss", "mean_loss")}
    assert kinds == {"visits": pa.int32(), "loss": pa.float32(), "mean_loss": pa.float32()}


def test_a_fixed_subset_leaves_the_others_without_a_loss(runs):
    table = open_run(runs / "random")
    visits = np.array(column(table, "visits"))
    assert np.bincount(visits).tolist() == [20, 0, 0, 20]
    for name in ("loss", "mean_loss"):
        assert [value is None for value in column(table, name)] == (visits == 0).tolist()
        assert table.data[name].null_count == 20


def test_a_table_passed_in_keeps_its_rows(image_folder, tmp_path):
    """In its order, with a broken row, a row of other data, and rows that an earlier selection left out."""
    keys = ["emu/00", *KEYS[::-1], "bee/00"]
    status = ["ok", *["ok"] * N, "duplicate_key"]
    keep = [key[:3] in ("ant", "bee") for key in keys]
    table = make_table(keys, CLASSES, keep=keep, status=status, grade=np.arange(42.0))
    run_train([image_folder], tmp_path / "run", table=table, sampler="rs2", keep="0.25")
    found = open_run(tmp_path / "run")
    for name in table.data.column_names:
        assert column(found, name) == column(table, name)
    visits, mean = column(found, "visits"), column(found, "mean_loss")
    # A quarter of the 32 that are kept.
    assert sum(visits) == 8 * EPOCHS and max(visits) == 1
    for key, state, kept_row, count, value in zip(keys, status, keep, visits, mean, strict=True):
        assert not count or (kept_row and state == "ok" and key in KEYS)
        assert (value is None) == (count == 0)


def test_training_twice_replaces_the_columns(image_folder, runs, tmp_path):
    first = open_run(runs / "random")
    run_train([image_folder], tmp_path / "run", table=first)
    second = open_run(tmp_path / "run")
    assert second.data.column_names == first.data.column_names
    assert column(second, "visits") == [EPOCHS] * N and second.data["mean_loss"].null_count == 0
    assert [step["command"] for step in second.meta.steps] == ["train", "train"]
    assert second.meta.scores["visits"]["method"] == "visits"
    assert "sampler" not in second.meta.scores["loss"]


# --- what is said about them


def test_metadata_of_a_run_with_a_sampler(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "run", sampler="rcap:beta=0.5", keep="20")
    meta = open_run(tmp_path / "run").meta
    common = {
        "runs": 1,
        "seeds": [0],
        "watches": ["train"],
        "model": NET,
        "epochs": 3,
        "sampler": "rcap:beta=0.5",
        "keep": "20",
    }
    assert meta.scores["visits"] == {
        "method": "rcap",
        "parameters": {"beta": 0.5, "aggregate": "subset", "clip": None, "by": "class"},
        "paper": "https://proceedings.mlr.press/v286/hassan25a.html",
        "keep_first": "high",
        "hard_end": None,
        **common,
    }
    for name, paper in (("loss", "cross-entropy at the last visit"), ("mean_loss", "mean cross-entropy")):
        found = meta.scores[name]
        assert found.pop("paper").startswith(f"none: {paper}")
        ends = {"keep_first": "high", "hard_end": "high"}
        assert found == {"method": name, "parameters": {}, **ends, **common}
    assert meta.last_step("train") == {"epochs": 3, "sampler": "rcap:beta=0.5", "keep": "20"}


def test_metadata_of_a_run_without_a_sampler(image_folder, tmp_path):
    table = make_table(KEYS, CLASSES)
    table = table.with_meta(type(table.meta)(classes=CLASSES, scores={"aum": {"keep_first": "high"}}))
    run_train([image_folder], tmp_path / "run", table=table)
    scores = open_run(tmp_path / "run").meta.scores
    assert scores["aum"] == {"keep_first": "high"}
    assert list(scores) == ["aum", "loss", "mean_loss", "visits"]
    assert scores["visits"]["keep_first"] is None and scores["visits"]["hard_end"] is None
    told = Told()
    pick(open_run(tmp_path / "run"), 5, told, by="visits")
    assert [line for line in told.notes if "does not say which end of 'visits' to keep" in line]


# --- selections


@pytest.mark.parametrize("name", ["rs2", "rcap", "random"])
@pytest.mark.parametrize("keep", [1, 12, 20, 33, 40])
def test_selections_by_visits(runs, name, keep):
    table, told = open_run(runs / name), Told()
    visits = np.array(column(table, "visits"))
    result = pick(table, keep, told, by="visits")
    rows = kept(result)
    assert len(rows) == keep and visits[rows].min() == top(visits, keep)
    assert (visits > top(visits, keep)).sum() == (visits[rows] > top(visits, keep)).sum()
    assert told.notes == [] and set(column(result, "reason")) <= {None, "rank"}


@pytest.mark.parametrize("by", ["loss", "mean_loss"])
@pytest.mark.parametrize("keep", [1, 12, 20])
def test_selections_by_loss_pass_over_what_was_never_visited(runs, by, keep):
    table, told = open_run(runs / "random"), Told()
    values = np.array(column(table, by), float)
    result = pick(table, keep, told, by=by)
    rows = kept(result)
    assert len(rows) == keep and values[rows].min() == top(values[~np.isnan(values)], keep)
    reasons = np.array(column(result, "reason"), object)
    assert (reasons[np.isnan(values)] == "no_score").all()
    assert (reasons == "rank").sum() == 20 - keep and told.notes == []


def test_hard_and_easy_ends(runs):
    table = open_run(runs / "rcap")
    values = np.array(column(table, "mean_loss"), float)
    usual = kept(pick(table, 6, by="mean_loss"))
    assert kept(pick(table, 6, by="mean_loss", end="hard")).tolist() == usual.tolist()
    easy = kept(pick(table, 6, by="mean_loss", end="easy"))
    assert values[easy].max() == sorted(values[~np.isnan(values)])[5]
    with pytest.raises(UsageError, match="does not say which end of 'visits' is hard; give --end high or"):
        pick(table, 6, by="visits", end="hard")


def test_what_was_visited_is_what_a_fixed_subset_is(runs):
    """`--by visits` with the budget of the run gives its subset, and so does `--by mean_loss`."""
    table = open_run(runs / "random")
    visited = np.flatnonzero(column(table, "visits"))
    for by in ("visits", "mean_loss"):
        assert kept(pick(table, "0.5", by=by)).tolist() == visited.tolist()


def test_a_budget_that_the_visited_cannot_meet(runs):
    with pytest.raises(BudgetError) as caught:
        pick(open_run(runs / "random"), "0.6", by="mean_loss")
    assert str(caught.value).endswith(
        "table.parquet: 24 samples of 'the data set' are to be kept, but only 20 can be picked; "
        "20 have no 'mean_loss': keep less, or go by another column"
    )
    assert len(kept(pick(open_run(runs / "random"), "0.6", by="visits"))) == 24


def test_a_quota_that_the_visited_cannot_meet(runs):
    """Only the samples of the class count, and what the cutoff leaves out is told apart."""
    table = open_run(runs / "random")
    lacking = np.array(column(table, "mean_loss"), float)
    lacking = np.bincount(LABELS[np.isnan(lacking)], minlength=4)
    assert 0 < lacking[0] < 20
    quotas = np.array([20, 0, 0, 0])
    table = table.with_columns(quota=quotas[LABELS])
    said = (
        f"20 samples of 'ant' are to be kept, but only {20 - lacking[0]} can be picked; {lacking[0]} have no"
    )
    with pytest.raises(BudgetError, match=f"{said} 'loss': keep less, or go by another column$"):
        select(table, SelectRequest(by="loss"), Told())
    cut = SelectRequest(by="loss", pick="stratified:cutoff=0.5,cutoff_by=mean_loss")
    with pytest.raises(BudgetError, match=f"{lacking[0]} have no 'loss': .* column; the cutoff leaves out "):
        select(table, cut, Told())
    assert select(table, SelectRequest(by="visits"), Told()).classes.coverage.kept.tolist() == [20, 0, 0, 0]


# --- others that go by a loss


def test_the_loss_of_evaluate_is_untouched(image_folder, runs):
    table = run_evaluate([runs / "rcap"], [image_folder])[1][0].table
    assert table.meta.scores == {} and "mean_loss" not in table
    assert table.data["loss"].null_count == 0


def test_the_loss_quota_goes_by_a_run_that_visited_all(image_folder, runs, tmp_path):
    run_train([image_folder], tmp_path / "run")
    request = QuotaRequest(keep=parse_budget("20"), method="loss")
    table = open_run(tmp_path / "run")
    found = quota(table, request, Told())[1]
    # n_j ~ sqrt(N_j L_j) of losses clipped to log 4; no class is full, so only rounding is left.
    sums = np.bincount(LABELS, np.minimum(column(table, "loss"), np.log(4)))
    exact = 20 * np.sqrt(SIZES * sums) / np.sqrt(SIZES * sums).sum()
    assert (exact < SIZES).all() and found.quota.sum() == 20
    assert (np.abs(found.quota - exact) < 1).all()
    with pytest.raises(DataError, match="column 'loss' is null for 20 of 40 samples with status ok"):
        quota(open_run(runs / "random"), request, Told())
