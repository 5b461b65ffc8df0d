"""What `dprune select` writes besides its table, read by others."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import tarfile
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from commands import call, contents, must
from graded import kept, write
from PIL import Image
from tiny_data import write_folder

from dprune_cli.io.class_names import names_in_stream, read_classes


def read_tars(folder):
    """Members of all shards of a folder, in order."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found += [(item.name, archive.extractfile(item).read()) for item in archive.getmembers()]
    return found


def read_webdataset(urls):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves files open, until they are collected
        samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
        gc.collect()
    return samples


def test_shards_are_read_by_others(tmp_path, shard_table, shard_folder):
    out = tmp_path / "new"
    must(
        "select",
        shard_table,
        "--by random --keep 23 --shards",
        out,
        "--shard-samples 10 -o",
        tmp_path / "out",
    )
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"{number:06}.tar" for number in range(3)),
        "classes.txt",
        "index.json",
    ]
    keys = kept(tmp_path / "out")
    original = [
        (name, content) for name, content in read_tars(shard_folder) if name.partition(".")[0] in keys
    ]
    assert read_tars(out) == original and len(original) == 3 * 23
    urls = [str(path) for path in sorted(out.glob("*.tar"))]
    samples = read_webdataset(urls)
    assert [sample["__key__"] for sample in samples] == list(
        dict.fromkeys(name.partition(".")[0] for name, _ in original)
    )
    assert all(sample["png"].shape == (8, 8, 3) for sample in samples)
    index = json.loads((out / "index.json").read_text())
    assert index["__kind__"] == "wids-shard-index-v1"
    assert [(shard["url"], shard["nsamples"]) for shard in index["shardlist"]] == [
        ("000000.tar", 10),
        ("000001.tar", 10),
        ("000002.tar", 3),
    ]
    assert [shard["filesize"] for shard in index["shardlist"]] == [os.path.getsize(url) for url in urls]
    assert (out / "classes.txt").read_text() == (shard_folder / "classes.txt").read_text()


def test_members_are_copied_bit_for_bit(tmp_path, shard_table, shard_folder):
    must(
        "select", shard_table, "--by random --keep 1.0 --shards", tmp_path / "new", "-q -o", tmp_path / "out"
    )
    spans = pq.read_table(shard_table).to_pylist()
    new = (tmp_path / "new" / "000000.tar").read_bytes()
    expected = b"".join(
        (shard_folder / row["shard"]).read_bytes()[row["offset"] : row["offset"] + row["size"]]
        for row in sorted(spans, key=lambda row: (row["shard"], row["offset"]))
    )
    assert new[: len(expected)] == expected
    assert set(new[len(expected) :]) <= {0}


def test_a_shard_ends_by_bytes_too(tmp_path, shard_table):
    size = max(pq.read_table(shard_table)["size"].to_pylist())
    must(
        *("select", shard_table, "--by", "random", "--keep", "7", "--shards", tmp_path / "new"),
        *("--shard-bytes", 2 * size + 1024, "-q", "-o", tmp_path / "out"),
    )
    index = json.loads((tmp_path / "new" / "index.json").read_text())
    assert [shard["nsamples"] for shard in index["shardlist"]] == [2, 2, 2, 1]


def test_a_stream_of_shards(tmp_path, shard_table):
    options = ["select", shard_table, "--by", "random", "--keep", "23"]
    must(*options, "--shards", tmp_path / "new", "-o", tmp_path / "out")
    done = must(*options, "--shards", "-")
    head, shard = done.out[:1024], (tmp_path / "new" / "000000.tar").read_bytes()
    assert names_in_stream(head) == read_classes(tmp_path / "new" / "classes.txt")
    assert done.out[1024:] == shard
    both = must(*options, "--shards", "-", "-o", tmp_path / "both")
    assert both.out == done.out and kept(tmp_path / "both") == kept(tmp_path / "out")


def test_shuffled_shards(tmp_path, shard_table):
    options = ["select", shard_table, "--by", "random", "--pick", "top", "--keep", "30", "-q", "-o"]
    for name, more in {
        "plain": [],
        "a": ["--shuffle"],
        "b": ["--shuffle"],
        "c": ["--shuffle", "--seed", "1"],
    }.items():
        must(*options, tmp_path / f"{name}.parquet", "--shards", tmp_path / name, *more)
    plain, first, again, other = (read_tars(tmp_path / name) for name in ("plain", "a", "b", "c"))
    assert (
        first == again
        and first != plain
        and sorted(first) == sorted(plain) == sorted(other)
        and other != first
    )
    samples = [name.partition(".")[0] for name, _ in first][::3]
    assert [name.partition(".")[0] for name, _ in first] == [key for key in samples for _ in range(3)]


def test_an_image_folder_is_packed(tmp_path, folder_table, image_folder):
    options = ["select", folder_table, "--by", "random", "--keep", "1.0", "-q", "-o"]
    must(*options, tmp_path / "a.parquet", "--shards", tmp_path / "a")
    must(*options, tmp_path / "b.parquet", "--shards", tmp_path / "b")
    assert contents(tmp_path / "a").values() != {} and read_tars(tmp_path / "a") == read_tars(tmp_path / "b")
    samples = read_webdataset([str(tmp_path / "a" / "000000.tar")])
    labels = [sample["cls"] for sample in samples]
    assert sorted(labels) == sorted([0] * 20 + [1] * 12 + [2] * 6 + [3] * 2) and labels != sorted(labels)
    for sample in samples:
        with Image.open(image_folder / f"{sample['__key__']}.png") as image:
            assert np.array_equal(sample["png"], np.asarray(image))
    must("score", tmp_path / "a", "-m", "random", "-o", tmp_path / "scored")
    again = pq.read_table(tmp_path / "scored").select(["key", "label", "random"]).sort_by("key")
    assert again == pq.read_table(folder_table).select(["key", "label", "random"]).sort_by("key")


def test_folders_of_kept_images(tmp_path, folder_table, shard_table, image_folder):
    for name, table in {"linked": folder_table, "unpacked": shard_table}.items():
        must(
            "select",
            table,
            "--by random --keep 11 --folder",
            tmp_path / name,
            "-o",
            tmp_path / f"{name}.parquet",
        )
        keys = kept(tmp_path / f"{name}.parquet")
        found = {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*.png")}
        assert found == {f"{key}.png" for key in keys} and len(found) == 11
        for path in found:
            assert (tmp_path / name / path).read_bytes() == (image_folder / path).read_bytes()
            linked = (tmp_path / name / path).samefile(image_folder / path)
            assert linked == (name == "linked")


def test_a_list_of_keys(tmp_path, shard_table):
    must("select", shard_table, "--by random --keep 11 --keys", tmp_path / "keys", "-o", tmp_path / "out")
    lines = (tmp_path / "keys").read_text().splitlines()
    assert set(lines) == kept(tmp_path / "out") and len(lines) == 11


def test_everything_at_once_below_one_folder(tmp_path, shard_table):
    options = [
        "--by random --keep 11 --shards",
        tmp_path / "o",
        "--keys",
        tmp_path / "o" / "keys",
    ]
    for force in ([], ["--force"]):
        must("select", shard_table, *options, "-o", tmp_path / "o" / "table.parquet", *force)
        names = sorted(path.name for path in (tmp_path / "o").iterdir())
        assert names == ["000000.tar", "classes.txt", "index.json", "keys", "table.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


@pytest.fixture
def moved(tmp_path, shard_folder, shard_table, monkeypatch):
    """A copy of the shards, and a table of them that knows them by a relative path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for path in shard_folder.iterdir():
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    must("score", "data", "-m", "random", "-o", "table", "-q")
    return tmp_path


def test_a_shard_that_changed_since_it_was_scored(moved):
    shard = moved / "data" / "000001.tar"
    old = shard.read_bytes()
    for name, new in {
        "shorter": old[:-20_000],
        "other": old.replace(b"ant/", b"ent/"),
        "shifted": old[1536:],
        "gone": None,
    }.items():
        shard.unlink(missing_ok=True)
        if new is not None:
            shard.write_bytes(new)
        for option in ("--shards", "--folder"):
            done = call("select", "table", "--by", "random", "--keep", "1.0", option, "out", "-o", "new")
            assert done.code == 3 and "000001.tar" in done.line, name
            assert not (moved / "out").exists() and not (moved / "new").exists()
    shard.write_bytes(old)
    must("select", "table", "--by", "random", "--keep", "1.0", "--shards", "out", "-o", "new")


def test_an_image_that_went_since_it_was_scored(tmp_path, image_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(image_folder, tmp_path / "data")
    must("score", "data", "-m", "random", "-o", "table", "-q")
    (tmp_path / "data" / "ant" / "03.png").unlink()
    for option in ("--shards", "--folder"):
        done = call("select", "table", "--by", "random", "--keep", "1.0", option, "out", "-o", "new")
        assert done.code == 3 and "data/ant/03.png: is missing" in done.line
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "table"]


def test_samples_that_moved_are_found_with_data(moved, shard_folder):
    (moved / "data").rename(moved / "elsewhere")
    options = ["select", "table", "--by", "random", "--keep", "9", "--shards", "out", "-o", "new"]
    done = call(*options)
    assert done.code == 3 and "data: there is no such file or folder" in done.line and "--data" in done.line
    must(*options, "--data", "elsewhere")
    assert len(read_tars(moved / "out")) == 3 * 9


def test_samples_of_a_table_that_knows_no_place(tmp_path):
    done = call(
        "select", write(tmp_path / "in"), "--by grade --keep 5 --shards", tmp_path / "s", "-o", tmp_path / "o"
    )
    assert done.code == 3 and "no column 'shard'" in done.err
    table = write(tmp_path / "in", {"shard": ["a.tar"] * 60})
    done = call(
        "select", table, "--by", "grade", "--keep", "5", "--shards", tmp_path / "s", "-o", tmp_path / "o"
    )
    assert done.code == 3 and "does not say where its samples are; give --data DATA" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_the_steps_are_written_into_the_table(moved):
    must("quota", "table", "--keep", "0.5", "--method", "balanced", "-o", "quotas", "-q")
    must("select", "quotas", "--by", "random", "--seed", "3", "-o", "kept", "-q")
    meta = json.loads(pq.read_schema(moved / "kept").metadata[b"dprune"])
    assert [step["command"] for step in meta["steps"]] == ["score", "quota", "select"]
    assert (
        meta["steps"][2]["options"]
        == {"by": "random", "pick": "top", "parameters": {}, "seed": 3} | meta["steps"][2]["options"]
    )
    assert meta["root"] == "data" and len(meta["fingerprint"]) == 64
    assert str(moved) not in json.dumps(meta)
    file = pq.ParquetFile(io.BytesIO((moved / "kept").read_bytes()))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_image_files_and_shards_are_not_written_together(shard_folder, tmp_path):
    # Four images more of the first class than the shards have; the others are there twice.
    folder = write_folder(tmp_path / "images", (24, 2, 1, 1))
    assert call("score", shard_folder, folder, "-m", "random", "-o", tmp_path / "t.parquet", "-q").code == 5
    for form in ("--shards", "--folder"):
        done = call(
            "select", tmp_path / "t.parquet", "--by", "random", "--keep", "1.0", form, tmp_path / "out", "-q"
        )
        assert done.code == 3 and "4 of the kept samples are image files" in done.line
        assert not (tmp_path / "out").exists()
