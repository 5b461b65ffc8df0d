"""Weights of what is kept, and what training makes of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_data import CLASSES, SIZES, make_keys
from toy_stages import Told, column, run_train, same_weights, training

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import DataError
from dprune_cli.io.table import ScoreTable, TableMeta, read_table, write_table
from dprune_cli.stages.quota import QuotaRequest, quota
from dprune_cli.stages.select import SelectRequest, select

KEYS = make_keys()
N = len(KEYS)
LABELS = np.repeat(range(len(SIZES)), SIZES)
GRADES = np.random.default_rng(0).permutation(N) / 4
BEST, WORST = int(GRADES.argmax()), int(GRADES.argmin())
SCORES = {"grade": {"keep_first": "high", "hard_end": "high"}}


def make(**columns):
    data = pa.table({"key": KEYS, "label": LABELS, "grade": GRADES, **columns})
    return ScoreTable(data, TableMeta(classes=CLASSES, scores=SCORES), "T")


def run(table, keep=20, progress=None, **options):
    request = SelectRequest(**{"by": "grade", "keep": parse_budget(str(keep)), **options})
    return select(table, request, progress or Told()).table


def weights(table):
    """Weights (K,) of the kept rows; fails if another row has one."""
    keep, found = column(table, "keep"), column(table, "weight")
    assert all((weight is None) != own for weight, own in zip(found, keep, strict=True))
    return np.array([weight for weight in found if weight is not None])


def test_by_hand():
    table = make().data.slice(0, 5)
    table = ScoreTable(table.append_column("v", pa.array([9.0, 1.0, 2.0, 3.0, None])), make().meta, "T")
    table = table.with_columns(grade=np.array([0.0, 4.0, 3.0, 2.0, 1.0]))
    result = run(table, 3, weight_by="v")
    assert column(result, "weight") == [None, 0.5, 1.0, 1.5, None]
    assert result.data.schema.field("weight").type == pa.float32()
    assert result.meta.last_step("select")["weight_by"] == "v"


@pytest.mark.parametrize("options", [{}, {"by": "random"}, {"pick": "stratified"}, {"pick": "weighted"}])
def test_weights_are_in_proportion_and_mean_one(options):
    table = make(quota=np.array([7, 9, 2, 2])[LABELS])
    result = run(table, **options, weight_by="grade")
    found = weights(result)
    values = GRADES[column(result, "keep")]
    assert len(found) == 20 and found.mean() == pytest.approx(1, rel=1e-6)
    assert found == pytest.approx(values / values.mean(), rel=1e-6)


def test_extreme_values():
    largest = np.finfo(float).max
    for scale in (largest / GRADES.max(), 1e-320, 1.0):
        found = weights(run(make(v=GRADES * scale), weight_by="v"))
        assert found.mean() == pytest.approx(1, rel=1e-6) and np.isfinite(found).all()
    zeros = weights(run(make(v=np.where(np.arange(N) == BEST, 3, 0)), weight_by="v"))
    assert sorted(zeros.tolist()) == [0.0] * 19 + [20.0]


def put(value, row):
    values = [1.0] * N
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-0.5, f"T: column 'v' has the value -0.5 at key '{KEYS[BEST]}', which is kept; --weight-by needs"),
        (np.inf, f"T: column 'v' has the value inf at key '{KEYS[BEST]}'"),
        (None, f"T: column 'v' has no value at key '{KEYS[BEST]}'"),
    ],
)
def test_values_that_are_no_weights(value, said):
    with pytest.raises(DataError) as error:
        run(make(v=put(value, BEST)), weight_by="v")
    assert said in str(error.value) and "(1 of 20 are none)" in str(error.value)
    # What is not kept may hold anything.
    assert weights(run(make(v=put(value, WORST)), weight_by="v")).tolist() == [1.0] * 20


def test_columns_that_are_no_weights():
    first = KEYS[column(run(make()), "keep").index(True)]
    with pytest.raises(DataError, match=f"column 'v' is 0 at all 20 kept samples .first at key '{first}'."):
        run(make(v=np.zeros(N)), weight_by="v")
    with pytest.raises(DataError, match="there is no column 'v'"):
        run(make(), weight_by="v")
    with pytest.raises(DataError, match="column 'key' holds string, not numbers"):
        run(make(), weight_by="key")


def test_nothing_is_kept():
    result = select(make(quota=np.zeros(N, np.int64)), SelectRequest(by="grade", weight_by="grade"), Told())
    assert column(result.table, "weight") == [None] * N


def test_weights_of_an_earlier_selection():
    told = Told()
    first = run(make(), 20, told, weight_by="grade")
    assert not any("weights" in line for line in told.notes)
    again = run(first, 10, told, weight_by="grade")
    assert "T holds weights already; they are replaced" in told.notes
    assert column(again, "weight") == column(run(make(), 10, weight_by="grade"), "weight")
    assert again.data.column_names == first.data.column_names
    plain = run(first, 30, told)
    assert "weight" not in plain
    assert any("weights of an earlier selection; they are dropped" in line for line in told.notes)
    # The next one may weigh what the user added since.
    own = run(plain.with_columns(weight=GRADES), 30)
    assert column(own, "weight") == GRADES.tolist()


def test_new_quotas_drop_the_weights_of_an_earlier_selection():
    table = run(make(), weight_by="grade")
    request = QuotaRequest(method="uniform", keep=parse_budget("8"))
    assert "weight" not in quota(table, request, Told())[0]
    assert "weight" in quota(make(weight=GRADES), request, Told())[0]


def test_weights_of_the_users_own_stay():
    told = Told()
    result = run(make(weight=GRADES), 20, told)
    assert column(result, "weight") == GRADES.tolist()
    assert not any("weights" in line for line in told.notes)
    # Scaled on request, by their own column too.
    assert weights(run(make(weight=GRADES), weight_by="weight")).mean() == pytest.approx(1, rel=1e-6)


# --- training


def train(tmp_path, image_folder, name, table, **options):
    write_table(table, str(tmp_path / f"{name}.parquet"))
    table = read_table(str(tmp_path / f"{name}.parquet"))
    run_train([image_folder], tmp_path / name, table=table, **options)
    return tmp_path / name


def losses(run):
    return pq.read_table(run / "history.parquet")["loss"].to_pylist()


def test_training_uses_the_weights(image_folder, tmp_path):
    values = np.random.default_rng(1).exponential(size=N)
    names = {
        "plain": run(make()),
        "weighted": run(make(v=values), weight_by="v"),
        "larger": run(make(v=values * 1024), weight_by="v"),
        "equal": run(make(v=np.full(N, 0.3)), weight_by="v"),
    }
    runs = {name: train(tmp_path, image_folder, name, table) for name, table in names.items()}
    assert not same_weights(runs["weighted"], runs["plain"])
    # The scale of the column has no say: the mean weight is 1, as without weights.
    assert same_weights(runs["larger"], runs["weighted"])
    assert same_weights(runs["equal"], runs["plain"])
    assert pq.read_table(runs["weighted"] / "table.parquet")["weight"].null_count == N - 20


def test_batch_means_of_mean_one_vanish_in_a_batch_of_all(image_folder, validation_folder, tmp_path):
    table = run(make(v=np.random.default_rng(2).exponential(size=N)), weight_by="v")
    for size in (4, 20):
        options = {"config": training(batch_size=size), "val": [validation_folder]}
        plain = train(tmp_path, image_folder, f"plain{size}", table.without("weight"), **options)
        samples = train(tmp_path, image_folder, f"samples{size}", table, **options)
        means = train(tmp_path, image_folder, f"means{size}", table, weighter="batch_mean", **options)
        assert losses(samples) != pytest.approx(losses(plain), rel=1e-3)
        assert losses(samples) != pytest.approx(losses(means), rel=1e-3)
        assert (losses(means) == pytest.approx(losses(plain), rel=1e-3)) == (size == 20)
