from __future__ import annotations

import csv
import json

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import call, contents, must

SIZES = [20, 12, 6, 2]
NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory, shard_table):
    """The 40 samples with a loss; that of the n-th sample of class k is k + 1."""
    path = tmp_path_factory.mktemp("quota") / "scored.parquet"
    table = pq.read_table(shard_table)
    loss = table["label"].cast(pa.float32()).to_numpy() + 1
    pq.write_table(table.append_column("loss", pa.array(loss, pa.float32())), path)
    return path


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Predictions of recall 0.9, 0.5, 0.25 and 0 in classes of 10, 10, 4 and 5."""
    path = tmp_path_factory.mktemp("quota") / "predicted.parquet"
    label = np.repeat([0, 1, 2, 3], [10, 10, 4, 5])
    right = np.concatenate([np.arange(count) < hits for count, hits in [(10, 9), (10, 5), (4, 1), (5, 0)]])
    pred = np.where(right, label, (label + 1) % 4)
    columns = {"key": [f"v{row}" for row in range(29)], "label": label, "pred": pred}
    pq.write_table(pa.table(columns), path)
    return path


def quotas_of(path):
    """The quota of every class, which must be the same in all its rows."""
    table = pq.read_table(path)
    pairs = set(zip(table["label"].to_pylist(), table["quota"].to_pylist(), strict=True))
    assert len(pairs) == 4
    return [quota for _, quota in sorted(pairs)]


RULES = ["uniform", "balanced", "loss", "longtail:factor=4", "score:by=loss", "drop"]


@pytest.mark.parametrize(
    ("keep", "method", "expected"),
    [
        # Shares 10, 6, 3, 1.
        ("0.5", "uniform", [10, 6, 3, 1]),
        # 2 each at most; then 6 of cat; the other 12 in halves.
        ("20", "balanced", [6, 6, 6, 2]),
        # Weights N_k * e_k: 2, 6, 4.5, 2; at 8 of 14.5: 1.10, 3.31, 2.48, 1.10.
        ("8", "drop", [1, 3, 3, 1]),
        ("0.1", "balanced", [1, 1, 1, 1]),
        # The loss grows with the class, so a global cut takes the hardest classes first.
        ("9", "score:by=loss", [0, 1, 6, 2]),
    ],
)
def test_rules_keep_exactly_what_is_asked_for(scored, predicted, tmp_path, keep, method, expected):
    val = ["--val", predicted] if method == "drop" else []
    done = must("quota", scored, "--keep", keep, "--method", method, *val, "-o", tmp_path / "out")
    assert quotas_of(tmp_path / "out") == expected
    assert f"quotas keep {sum(expected)} of 40 samples" in done.err


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("keep", ["1", "7", "0.5", "39", "1.0"])
def test_every_rule_meets_every_budget(scored, predicted, tmp_path, method, keep):
    val = ["--val", predicted] if method == "drop" else []
    must("quota", scored, "--keep", keep, "--method", method, *val, "-o", tmp_path / "q", "-q")
    must("select", tmp_path / "q", "--by", "random", "-o", tmp_path / "out", "-q")
    table = pq.read_table(tmp_path / "out").to_pandas()
    found = table[table.keep].groupby("label").size().reindex(range(4), fill_value=0).tolist()
    assert found == quotas_of(tmp_path / "q")
    assert sum(found) == {"1": 1, "7": 7, "0.5": 20, "39": 39, "1.0": 40}[keep]


def test_several_validation_tables_are_averaged(scored, predicted, tmp_path):
    perfect = pq.read_table(predicted)
    perfect = perfect.set_column(2, "pred", perfect["label"])
    pq.write_table(perfect, tmp_path / "perfect")
    options = ["--keep", "8", "--method", "drop", "--val", predicted, "--val", tmp_path / "perfect", "-q"]
    must("quota", scored, *options, "--quotas", tmp_path / "q.json", "-o", tmp_path / "out")
    recall = [row["recall"] for row in json.loads((tmp_path / "q.json").read_text())]
    assert recall == [0.95, 0.75, 0.625, 0.5]


def test_a_class_that_validation_lacks(scored, predicted, tmp_path):
    table = pq.read_table(predicted)
    pq.write_table(table.slice(0, 24), tmp_path / "val")
    options = ["--keep", "8", "--method", "drop", "--val", tmp_path / "val", "-o", tmp_path / "out"]
    done = call("quota", scored, *options)
    assert done.code == 3 and "dog" in done.line and "missing_class" in done.line


def test_a_validation_table_without_predictions(scored, tmp_path):
    done = call("quota", scored, "--keep", "8", "--method", "drop", "--val", scored, "-o", tmp_path / "out")
    assert done.code == 3
    assert f"{scored}: there is no column 'pred'; make it with `dprune evaluate RUN VAL -o FILE`" in done.line


def test_predictions_of_evaluate_are_what_val_expects(scored, predictions, tmp_path):
    # Validation has no sample of class dog.
    options = ["--method", "drop:missing_class=mean", "--val", predictions, "-o", tmp_path / "out"]
    done = must("quota", scored, "--keep", "8", *options)
    assert "warning: validation has no sample of 'dog'" in done.err
    assert sum(quotas_of(tmp_path / "out")) == 8


def read_review(path):
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_reviewed_file_comes_back(scored, predicted, tmp_path, suffix):
    review = tmp_path / f"quotas{suffix}"
    options = ["--keep", "8", "--method", "drop", "--val", predicted, "-q"]
    must("quota", scored, *options, "--quotas", review, "-o", tmp_path / "first")
    rows = read_review(review)
    assert [row["name"] for row in rows] == NAMES
    assert [int(row["available"]) for row in rows] == SIZES
    assert [float(row["recall"]) for row in rows] == [0.9, 0.5, 0.25, 0.0]
    assert [float(row["density"]) for row in rows] == [1 / 20, 3 / 12, 3 / 6, 1 / 2]
    must("quota", scored, "--from", review, "-o", tmp_path / "second", "-q")
    assert quotas_of(tmp_path / "second") == quotas_of(tmp_path / "first") == [1, 3, 3, 1]
    meta = json.loads(pq.read_schema(tmp_path / "second").metadata[b"dprune"])["steps"][-1]["options"]
    assert meta["recall"] == [0.9, 0.5, 0.25, 0.0] and meta["quotas"] == f"quotas{suffix}"


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_file_edited_with_pandas(scored, predicted, tmp_path, suffix):
    review = tmp_path / f"quotas{suffix}"
    options = ["--keep", "8", "--method", "uniform", "-q", "--quotas", review, "-o", tmp_path / "first"]
    must("quota", scored, *options)
    reader = {".csv": pandas.read_csv, ".json": pandas.read_json, ".parquet": pandas.read_parquet}[suffix]
    frame = reader(review)
    frame["quota"] = frame["quota"].astype(float)
    frame.loc[frame["name"] == "dog", "quota"] = 2.0
    frame = frame.sort_values("quota", ascending=False)
    if suffix == ".csv":
        frame.to_csv(review)
    elif suffix == ".json":
        frame.to_json(review, orient="records")
    else:
        frame.to_parquet(review)
    must("quota", scored, "--from", review, "-o", tmp_path / "second", "-q")
    assert quotas_of(tmp_path / "first") == [4, 3, 1, 0]
    assert quotas_of(tmp_path / "second") == [4, 3, 1, 2]


ROWS = [(0, "ant", 4), (1, "bee", 3), (2, "cat", 1), (3, "dog", 0)]


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ([*ROWS[:3], (3, "dog", 3)], 4, "quota 3 of 'dog' is not between 0 and the 2 samples it has"),
        ([*ROWS[:3], (3, "dog", -1)], 4, "quota -1 of 'dog' is not between 0 and the 2"),
        ([(number, name, 0) for number, name, _ in ROWS], 4, "the quotas keep no sample at all"),
        (ROWS[:3], 3, "there is no quota for 'dog'"),
        ([*ROWS, (3, "dog", 1)], 3, "stratum 3 stands there twice"),
        ([*ROWS, (4, "elk", 1)], 3, "row 5: there is no stratum 4"),
        ([*ROWS[:3], (3, "cow", 1)], 3, "stratum 3 is 'dog' in the table, not 'cow'"),
        ([*ROWS[:3], (3, "dog", "many")], 3, "row 4 needs whole numbers in 'stratum' and 'quota'"),
        ([*ROWS[:3], (3, "dog", 1.5)], 3, "row 4 needs whole numbers"),
        ([*ROWS[:3], (3, "dog", "")], 3, "row 4 needs whole numbers"),
        ([], 3, "this is no quotas file"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_file_with_a_mistake(scored, tmp_path, rows, code, said, suffix):
    path = tmp_path / f"quotas{suffix}"
    fields = ("stratum", "name", "quota")
    if suffix == ".csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in [fields, *rows]))
    else:
        path.write_text(json.dumps([dict(zip(fields, row, strict=True)) for row in rows]))
    before = contents(tmp_path)
    done = call("quota", scored, "--from", path, "-o", tmp_path / "out")
    assert done.code == code and f"{path}: " in done.line and said in done.line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, 2]", "\0\0", "[" * 9999])
def test_no_quotas_file(scored, tmp_path, text):
    for suffix in (".csv", ".json", ".parquet"):
        path = tmp_path / f"quotas{suffix}"
        path.write_text(text)
        done = call("quota", scored, "--from", path, "-o", tmp_path / "out")
        assert done.code == 3 and f"{path}: " in done.line, suffix
    done = call("quota", scored, "--from", tmp_path / "nothing.csv", "-o", tmp_path / "out")
    assert done.code == 3 and "there is no such file" in done.line


def test_quotas_of_groups(scored, tmp_path):
    review = tmp_path / "quotas.csv"
    options = ["--by", "group", "--quotas", review, "-o", tmp_path / "q"]
    done = must("quota", scored, "--keep", "12", "--method", "balanced", *options)
    rows = read_review(review)
    assert [row["name"] for row in rows] == ["land", "water"]
    assert [int(row["quota"]) for row in rows] == [6, 6]
    assert done.err.splitlines()[1].split() == ["group", "available", "recall", "density", "quota"]
    must("select", tmp_path / "q", "--by", "random", "-o", tmp_path / "out", "-q")
    table = pq.read_table(tmp_path / "out").to_pandas()
    assert table[table.keep].groupby("group").size().tolist() == [6, 6]


def test_rows_that_cannot_be_used_get_no_quota(tmp_path):
    status = ["ok"] * 5 + ["decode_error"]
    columns = {"key": list("abcdef"), "label": [0, 0, 0, 1, 1, 1], "status": status}
    pq.write_table(pa.table(columns), tmp_path / "in")
    must("quota", tmp_path / "in", "--keep", "5", "--method", "uniform", "-o", tmp_path / "out", "-q")
    assert pq.read_table(tmp_path / "out")["quota"].to_pylist() == [3, 3, 3, 2, 2, None]


def test_classes_promised_a_minimum(scored, tmp_path):
    options = ["--keep", "8", "--method", "score:by=loss", "-o", tmp_path / "out", "-q"]
    must("quota", scored, *options, "--min-per-class", "1")
    assert quotas_of(tmp_path / "out")[0] == 1 and sum(quotas_of(tmp_path / "out")) == 8


def test_more_classes_than_fit_a_screen(tmp_path):
    columns = {"key": [f"k{row}" for row in range(60)], "label": np.repeat(np.arange(30), 2)}
    pq.write_table(pa.table(columns), tmp_path / "in")
    options = ["--keep", "30", "--method", "uniform", "--force", "-o", tmp_path / "out"]
    brief, full, quiet = (must("quota", tmp_path / "in", *options, *more) for more in ([], ["-v"], ["-q"]))
    assert "... and 10 more; -v shows all" in brief.err and len(brief.err.splitlines()) == 26
    assert len(full.err.splitlines()) == 33 and quiet.err == ""
