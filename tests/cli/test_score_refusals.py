"""Scores that cannot be computed say so in one line, before a model is trained."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import call, contents
from tiny_data import SIZES, make_keys, write_folder

KEYS = make_keys()
LABELS = np.repeat(np.arange(4), SIZES)


def write_features(path, *, keys=KEYS, labels=LABELS, width=5, seed=0, bad=None, copies=0):
    values = np.random.default_rng(seed).normal(size=(len(keys), width)).astype(np.float32)
    values[1 : 1 + copies] = values[0]
    if bad is not None:
        values[3, 2] = bad
    table = {"key": list(keys), "label": labels, "features": values.tolist()}
    table["logits"] = np.random.default_rng(1).normal(size=(len(keys), 4)).tolist()
    pq.write_table(pa.table(table), path)
    return path


def refuse(tmp_path, code, said, *words):
    before = contents(tmp_path)
    done = call("score", *words, "-o", tmp_path / "out.parquet")
    assert done.code == code, done.err
    assert said in done.line, done.line
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tdds --epochs 9", "tdds needs windows of 10 epochs, this run has 9"),
        ("tdds:window=2 --epochs 9", "tdds:window=2 is too short for two differences"),
        ("tdds:window=4,epochs=3 --epochs 9", "tdds:epochs=3 is shorter than its windows of 4"),
        ("tdds:epochs=40", "tdds:epochs=40 lies outside the schedule of 30"),
        ("tdds:variant=code", "none of paper, authors"),
        ("dyn_unc --epochs 9", "dyn_unc needs windows of 10 epochs"),
        ("glister", "glister looks at validation data; give --val DATA"),
        ("glister:rounds=0", "glister:rounds=0"),
        ("grand:epoch=31", "grand:epoch=31 lies outside the schedule of 30"),
        ("grand --grad-memory lots", "--grad-memory lots: write an amount"),
        ("ssp:metric=manhattan", "none of cosine, euclidean"),
        ("ssp:clusters=-1", "ssp:clusters=-1 is below 0"),
        ("k_center:picks=0", "k_center:picks=0"),
        ("herding:picks=200%", "herding:picks=200%"),
        ("cg:block=0", "cg:block=0"),
        ("d2:k=0", "d2:k=0 leaves no neighbours"),
        ("adapruner:keep=1.5", "adapruner:keep=1.5 is not between 0 and 1"),
        ("adapruner:warmup=31", "adapruner:warmup=31 lies outside the schedule of 30"),
        ("moderate --record-val-features OUT", "give --val DATA"),
    ],
)
def test_parameters_and_schedules(image_folder, tmp_path, words, said):
    words = words.replace("OUT", str(tmp_path / "val.parquet"))
    refuse(tmp_path, 2, said, image_folder, "-m", words)


def test_more_clusters_than_samples(image_folder, tmp_path):
    refuse(tmp_path, 3, "ssp:clusters=41 is more than the 40 samples", image_folder, "-m ssp:clusters=41")


@pytest.mark.parametrize("name", ["moderate", "ssp"])
def test_a_class_of_one_member(tmp_path, name):
    write_folder(tmp_path / "lone", (5, 3, 1))
    refuse(
        tmp_path,
        3,
        "class 'cat' has one sample, which is its own centre",
        tmp_path / "lone",
        f"-m {name} --epochs 1",
    )


@pytest.mark.parametrize("data", [True, False])
def test_features_that_do_not_fit(image_folder, tmp_path, data):
    words = [image_folder] if data else []

    def tried(code, said, *more, score="moderate"):
        refuse(tmp_path, code, said, *words, "-m", score, *more)

    path = tmp_path / "f.parquet"
    for bad in (np.inf, np.nan):
        tried(
            3,
            "column 'features' holds NaN or infinity, first in row 3",
            "--from-features",
            write_features(path, bad=bad),
        )
    if data:
        write_features(path, keys=KEYS[1:], labels=LABELS[1:])
        tried(3, f"key {KEYS[0]!r} has no features", "--from-features", path)
        write_features(path, keys=["stranger", *KEYS[1:]])
        tried(3, "key 'stranger' is not among the samples", "--from-features", path)
    write_features(path)
    val = write_features(tmp_path / "v.parquet", width=6)
    both = ("--from-features", path, "--from-val-features", val)
    tried(3, "its features are not of the length of those in", *both, score="glister")
    tried(3, "give --from-val-features FILE", "--from-features", path, score="glister")
    tried(2, "goes with --from-features", "--from-val-features", val, score="glister")
    tried(3, "no recording holds", "--from-features", path, score="grand")
    tried(3, "cannot be computed from a recording", "--from-features", path, score="adapruner")
    tried(3, "there is no such file", "--from-features", tmp_path / "none", score="k_center")


def test_duplicate_feature_rows(tmp_path):
    path = write_features(tmp_path / "f.parquet", copies=3)
    refuse(tmp_path, 3, "cg:ridge", "-m cg:ridge=0", "--from-features", path)
    refuse(
        tmp_path,
        3,
        "ssp:clusters=38 is more than the 37 different embeddings",
        "-m ssp:clusters=38",
        "--from-features",
        path,
    )
    # Everything else has a meaning for them.
    done = call(
        "score -m cg -m k_center -m herding -m moderate -q",
        "--from-features",
        path,
        "-o",
        tmp_path / "t.parquet",
    )
    assert done.code == 0 and done.err == ""
    table = pq.read_table(tmp_path / "t.parquet")
    assert sorted(table["k_center"].to_pylist()) == list(range(1, 41))
    assert all(not column.null_count for column in table.select(["cg", "herding", "moderate"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "score IMAGES -m aum -o A --record-features A",
            "--output and --record-features name the",
        ),
        (
            "score IMAGES -m aum --record-trajectory A --record-features ./A",
            "--record-trajectory and --reco",
        ),
        ("select TABLE --by random --keep 5 -o A --keys A", "--output and --keys name the same place"),
        (
            "quota TABLE --keep 5 --method uniform -o A.csv --quotas A.csv",
            "--output and --quotas name",
        ),
    ],
)
def test_two_outputs_in_one_place(image_folder, shard_table, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = call(words.replace("IMAGES", str(image_folder)).replace("TABLE", str(shard_table)))
    assert done.code == 2 and said in done.line, done.err
    assert contents(tmp_path) == {}
