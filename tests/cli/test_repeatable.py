"""The same input and options, typed twice, and tables that go with data they were not made from."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import QUICK, call, contents, must


def by_name(folder):
    """The hashes of the files below a folder, by their path in it."""
    return {path.removeprefix(str(folder)): digest for path, digest in contents(folder).items()}


def pipeline():
    """The five stages, in the folder one is in."""
    must("score train -m el2n -m random --runs 2 --save-model query -o a --seed 3", *QUICK)
    must("evaluate query val -o b")
    must("quota a --keep 0.5 --method drop:missing_class=mean --val b --quotas q.csv -o c --seed 3")
    must("select c --by el2n --shards d --shard-samples 8 --keys e -o f --seed 3")
    must("train d -o run --seed 3", *QUICK)
    must("evaluate run val -o g")


def test_the_same_commands_write_the_same_bytes(tmp_path, shard_folder, validation_shards, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        (tmp_path / name / "train").symlink_to(shard_folder)
        (tmp_path / name / "val").symlink_to(validation_shards)
        pipeline()
    one, two = by_name(tmp_path / "one"), by_name(tmp_path / "two")
    # These hold the seconds of every epoch.
    timed = {"/query/history.parquet", "/run/history.parquet", "/run/resume.pt"}
    assert set(one) == set(two)
    assert {name for name in one if one[name] != two[name]} <= timed
    for name in "abcfg":
        meta = pq.read_schema(tmp_path / "one" / name).metadata[b"dprune"].decode()
        assert str(tmp_path) not in meta and str(shard_folder) not in meta
        assert json.loads(meta)["root"] == ("val" if name in "bg" else "train")


def test_the_order_of_listing_does_not_matter(tmp_path, image_folder, monkeypatch):
    shutil.copytree(image_folder, tmp_path / "one" / "data")
    files = sorted(image_folder.rglob("*.png"), reverse=True)
    for path in files:  # made in another order, another file system lists them otherwise
        target = tmp_path / "two" / "data" / path.relative_to(image_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("one", "two"):
        monkeypatch.chdir(tmp_path / name)
        must("score", "data", "-m", "random", "-o", "a", "-q")
        must("select", "a", "--by", "random", "--keep", "20", "--shards", "b", "-o", "c", "-q")
    assert by_name(tmp_path / "one") == by_name(tmp_path / "two")


def selected(table, out, keep="0.5"):
    must("select", table, "--by", "random", "--keep", keep, "-o", out, "-q")
    return out


def test_training_on_what_a_table_keeps(tmp_path, folder_table, shard_folder, image_folder):
    table = selected(folder_table, tmp_path / "kept")
    for data in (image_folder, shard_folder):  # the same keys, so the table fits both
        out = tmp_path / data.parent.name
        done = must("train", data, "--table", table, "-o", out, *QUICK)
        assert "trained on 20 samples" in done.err
        trained = pq.read_table(out / "table.parquet")
        visits = dict(zip(trained["key"].to_pylist(), trained["visits"].to_pylist(), strict=True))
        kept = dict(zip(trained["key"].to_pylist(), trained["keep"].to_pylist(), strict=True))
        assert visits == {key: int(wanted) for key, wanted in kept.items()}


@pytest.mark.parametrize("change", ["another key", "no key", "twice"])
def test_a_table_that_does_not_fit_the_data(tmp_path, folder_table, image_folder, change):
    table = pq.read_table(selected(folder_table, tmp_path / "kept"))
    keys = table["key"].to_pylist()
    wanted = table["keep"].to_pylist().index(True)
    if change == "another key":
        keys[wanted] = "elk/00"
    elif change == "twice":
        keys[wanted] = keys[(wanted + 1) % 40]
    columns = table.set_column(0, "key", pa.array(keys)) if change != "no key" else table.drop_columns("key")
    pq.write_table(columns, tmp_path / "kept")
    done = call("train", image_folder, "--table", tmp_path / "kept", "-o", tmp_path / "run", *QUICK)
    assert done.code == 3 and str(tmp_path / "kept") in done.line
    said = {"another key": "'elk/00'", "no key": "there is no column 'key'", "twice": "more than once"}
    assert said[change] in done.line
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
