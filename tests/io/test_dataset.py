from __future__ import annotations

import io
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from tars import pairs, write_tar

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io import folders
from dprune_cli.io.dataset import locate, open_samples
from dprune_cli.io.problems import problems

OK = "ok"


def images(root, names):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Stdin:
    def __init__(self, raw, terminal=False):
        self.buffer, self.terminal = io.BytesIO(raw), terminal

    def isatty(self):
        return self.terminal


def test_an_image_folder(here):
    images("r", ["dog/b.jpg", "cat/x/a.PNG", "cat/c.jpeg", "top.jpg", "cat/note.txt", "cat/c.v2.jpg"])
    samples = open_samples(["r"])
    assert samples.shards == ["cat/c.jpeg", "cat/c.v2.jpg", "cat/x/a.PNG", "dog/b.jpg", "top.jpg"]
    assert samples.keys == ["cat/c", "cat/c_v2", "cat/x/a", "dog/b", "top"]
    assert samples.status.tolist() == [OK, OK, OK, OK, "missing_label"]
    assert samples.label.tolist() == [0, 0, 0, 1, -1]
    assert samples.classes == ["cat", "dog"]
    assert (samples.root, samples.base) == (["r"], Path("r"))
    assert samples.offset.tolist() == samples.size.tolist() == [-1] * 5
    assert samples.image_size.tolist() == [len(name) for name in samples.shards]
    assert samples.path(3) == Path("r/dog/b.jpg")
    assert samples.table().data["offset"].null_count == 5


def test_several_image_folders_share_no_keys(here):
    images("m/small", ["dog/b.jpg", "cat/a.jpg", "cat/x.0.jpg", "cat/x.1.jpg"])
    images("m/small_val", ["dog/b.jpg", "cat/a.jpg"])
    samples = open_samples(["m/small", "m/small_val"])
    below = ["small/cat/a", "small/cat/x_0", "small/cat/x_1", "small/dog/b"]
    assert samples.keys == [*below, "small_val/cat/a", "small_val/dog/b"]
    assert set(samples.status) == {OK}
    assert samples.classes == ["cat", "dog"]
    assert samples.label.tolist() == [0, 0, 0, 1, 0, 1]
    assert open_samples(["m/small"]).keys == ["cat/a", "cat/x_0", "cat/x_1", "dog/b"]
    assert open_samples(["m/small", "m/small/"]).keys == ["cat/a", "cat/x_0", "cat/x_1", "dog/b"]


def test_given_classes_of_a_folder(here):
    images("r", ["dog/b.jpg", "cat/a.jpg", "emu/a.jpg"])
    samples = open_samples(["r"], classes=["dog", "cat"])
    assert samples.label.tolist() == [1, 0, -1]
    assert samples.status.tolist() == [OK, OK, "unknown_label"]


def test_folder_names_that_are_numbers_stay_names(here):
    images("r", ["10/a.jpg", "2/a.jpg", "1/a.jpg"])
    samples = open_samples(["r"])
    assert samples.classes == ["1", "10", "2"]
    assert samples.label.tolist() == [0, 1, 2]


def test_shards_in_sorted_order(here):
    write_tar(here / "d/b.tar", pairs(("k3", b"1", "1"), ("k1", b"2", "0")))
    write_tar(here / "d/a.tar", pairs(("k9", b"3", "1")))
    write_tar(here / "d/sub/c.tar", pairs(("k4", b"4", "1"), ("k1", b"2", "0")))
    samples = open_samples(["d"])
    assert samples.shards == ["a.tar", "b.tar", "sub/c.tar"]
    assert samples.keys == ["k9", "k3", "k1", "k4", "k1"]
    assert samples.status.tolist() == [OK, OK, OK, OK, "duplicate_key"]
    assert samples.shard.tolist() == [0, 1, 1, 2, 2]
    for row, image in enumerate([b"3", b"1", b"2", b"4", b"2"]):
        begin = samples.image_offset[row]
        assert samples.path(row).read_bytes()[begin : begin + samples.image_size[row]] == image


def test_the_order_of_the_file_system_does_not_matter(here, monkeypatch):
    images("r", [f"{label}/{number}.jpg" for label in "cab" for number in range(5)])
    write_tar(here / "d/x/b.tar", pairs(("k3", b"1", "1")))
    write_tar(here / "d/a.tar", pairs(("k9", b"3", "1")))
    expected = [open_samples([name]).table().data for name in ("r", "d")]
    scan = os.scandir

    class Shuffled(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def shuffled(path):
        with scan(path) as entries:
            found = list(entries)
        random.Random(5).shuffle(found)
        return Shuffled(found)

    monkeypatch.setattr(folders.os, "scandir", shuffled)
    assert [open_samples([name]).table().data for name in ("r", "d")] == expected


@pytest.mark.parametrize(
    ("data", "base", "shards"),
    [
        (["p/d/a.tar"], "p/d", ["a.tar"]),
        (["a.tar"], ".", ["a.tar"]),
        (["p/d/{b,a}.tar"], "p/d", ["a.tar", "b.tar"]),
        (["p/{d/a,e/c}.tar"], "p", ["d/a.tar", "e/c.tar"]),
        (["p/d/a.tar", "p/e"], "p", ["d/a.tar", "e/c.tar"]),
        (["a.tar", "p/e/c.tar"], ".", ["a.tar", "p/e/c.tar"]),
        (["p/d", "p/d/a.tar", "./p/d/b.tar"], "p/d", ["a.tar", "b.tar"]),
        (["p/e", "p/../p/d"], "p", ["d/a.tar", "d/b.tar", "e/c.tar"]),
        (["p/d/"], "p/d", ["a.tar", "b.tar"]),
    ],
)
def test_base_and_shard_names(here, data, base, shards):
    for number, name in enumerate(["a.tar", "p/d/a.tar", "p/d/b.tar", "p/e/c.tar"]):
        write_tar(here / name, pairs((f"k{number}", b"x", "0")))
    samples = open_samples(data)
    assert (samples.root, samples.base, samples.shards) == (data, Path(base), shards)
    assert set(samples.status) == {OK}
    assert all((samples.base / name).is_file() for name in shards)
    assert locate(data).base == samples.base
    absolute = open_samples([str(here / data[0]), *data[1:]])
    assert absolute.base.is_absolute()
    assert absolute.shards == shards


def test_a_mix_of_folders_and_shards(here):
    images("m/r", ["dog/b.jpg", "cat/a.jpg"])
    write_tar(here / "m/a.tar", pairs(("k", b"x", "cat"), ("cat/a", b"x", "dog")))
    samples = open_samples(["m/r", "m/a.tar"])
    assert samples.shards == ["a.tar", "r/cat/a.jpg", "r/dog/b.jpg"]
    assert samples.keys == ["k", "cat/a", "cat/a", "dog/b"]
    assert samples.status.tolist() == [OK, OK, "duplicate_key", OK]
    assert samples.label.tolist() == [0, 1, 0, 1]


def test_which_of_both(here):
    images("r", ["dog/b.jpg"])
    write_tar(here / "r/a.tar", pairs(("k", b"x", "0")))
    with pytest.raises(DataError, match="both shards"):
        open_samples(["r"])
    images("s", ["preview.png"])
    write_tar(here / "s/a.tar", pairs(("k", b"x", "0")))
    assert open_samples(["s"]).keys == ["k"]


@pytest.mark.parametrize(
    "word", ["pipe:cat x", "{pipe:cat a,b}.tar", "PIPE:ls", "simplecache::s3://b/a.tar", "reference://a.tar"]
)
def test_commands_and_urls_that_lead_elsewhere_are_refused(here, word):
    with pytest.raises(UsageError, match=r"is a command|chains URLs|leads to other places"):
        open_samples([word])


@pytest.mark.parametrize(
    "word", ["{0..999999999}.tar", "{1..9999999999999999999}", "{0..999}{0..999}.tar", "{a,b", ""]
)
def test_patterns_are_bounded(here, word):
    with pytest.raises(UsageError):
        open_samples([word])


def test_what_is_missing_or_empty(here):
    with pytest.raises(DataError, match=r"b.tar: there is no such"):
        open_samples(["{b,c}.tar"])
    (here / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_samples(["empty"])
    (here / "x.tar").write_bytes(b"rubbish" * 1000)
    with pytest.raises(DataError, match="is no tar archive"):
        open_samples(["x.tar"])
    os.mkfifo(here / "fifo.tar")
    with pytest.raises(DataError, match="neither a file"):
        open_samples(["fifo.tar"])
    with pytest.raises(UsageError):
        open_samples([])


def test_damage_reaches_the_caller(here):
    raw = write_tar(here / "d/a.tar", pairs(("a", b"x", "0"), ("b", b"y" * 900, "1"))).read_bytes()
    (here / "d/a.tar").write_bytes(raw[:3500])
    write_tar(here / "d/b.tar", pairs(("c", b"x", "0")))
    samples = open_samples(["d"])
    assert samples.keys == ["a", "c"]
    assert samples.damage == ("shard a.tar: ends inside the member at byte 2048 (1 samples before that)",)
    assert problems(samples) == list(samples.damage)


def test_bad_members_get_a_status(here):
    files = [("a.jpg", b"1"), ("b.jpg", b"1"), ("b.cls", b"0"), ("a.cls", b"0")]
    files += [("c.jpg", b"1"), ("c.jpg", b"2"), ("c.cls", b"0")]
    samples = open_samples([str(write_tar(here / "a.tar", files))])
    assert samples.status.tolist() == ["scattered", OK, "scattered", "duplicate_member"]


def test_names_that_are_no_utf8(here):
    files = [("caf\udce9.jpg", b"x"), ("caf\udce9.cls", b"1"), ("k.jpg", b"x"), ("k.cls", b"0")]
    samples = open_samples([str(write_tar(here / "a.tar", files))])
    assert samples.keys == ["caf\\xe9", "k"]
    assert samples.status.tolist() == ["bad_name", OK]
    assert samples.table().data["key"].to_pylist() == samples.keys
    images("r", ["cat/a.jpg", "cat/\udce9.jpg", "\udce9/b.jpg"])
    samples = open_samples(["r"])
    assert samples.status.tolist() == [OK, "bad_name", "bad_name"]
    assert samples.table().data["shard"].to_pylist() == ["cat/a.jpg", "cat/\\xe9.jpg", "\\xe9/b.jpg"]
    (here / "a.tar").rename(here / "\udce9.tar")
    with pytest.raises(DataError, match="UTF-8"):
        open_samples(["\udce9.tar"])


def test_hint_for_the_inner_folder(here):
    images("r", ["train/cat/a.jpg", "train/dog/b.jpg"])
    samples = open_samples(["r"])
    assert samples.classes == ["train"]
    assert samples.hint == "r has one class folder, train, with 2 folders in it; did you mean r/train?"
    assert open_samples(["r/train"]).hint == ""


def test_standard_input(here, monkeypatch):
    raw = write_tar(here / "a.tar", pairs(("a", b"x", "0"), ("b", b"y", "1"))).read_bytes()
    monkeypatch.setattr(sys, "stdin", Stdin(raw))
    kept = open_samples(["-"], spool="spool")
    assert (kept.root, kept.base, kept.shards) == (["spool"], Path("spool"), ["stdin.tar"])
    assert (here / "spool/stdin.tar").read_bytes() == raw
    assert locate("spool").tars == [Path("spool/stdin.tar")]
    monkeypatch.setattr(sys, "stdin", Stdin(raw))
    with pytest.raises(UsageError, match="--force"):
        open_samples(["-"], spool="spool")
    other = write_tar(here / "b.tar", pairs(("c", b"x", "0"))).read_bytes()
    monkeypatch.setattr(sys, "stdin", Stdin(other))
    assert open_samples(["-"], spool="spool", force=True).keys == ["c"]
    assert (here / "spool/stdin.tar").read_bytes() == other
    monkeypatch.setattr(sys, "stdin", Stdin(raw))
    passing = open_samples(["-"])
    assert passing.root == ["-"]
    assert passing.table().data.drop(["shard"]) == kept.table().data.drop(["shard"])
    with pytest.raises(DataError, match="--spool"):
        locate("-")


def test_standard_input_that_cannot_be_used(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(b""))
    with pytest.raises(DataError, match="standard input is empty; did the command before the pipe fail"):
        open_samples(["-"], spool="spool")
    assert list((here / "spool").iterdir()) == []
    monkeypatch.setattr(sys, "stdin", Stdin(b"", terminal=True))
    with pytest.raises(UsageError, match="terminal"):
        open_samples(["-"])
    (here / "spool/other").touch()
    monkeypatch.setattr(sys, "stdin", Stdin(b"x"))
    with pytest.raises(UsageError, match="folder of its own"):
        open_samples(["-"], spool="spool")
    with pytest.raises(UsageError, match="--spool"):
        open_samples(["a.tar"], spool="spool")


def test_a_sample_is_found_again_through_its_table(here):
    write_tar(here / "d/a.tar", pairs(("a", b"x", "0"), ("b", b"y", "1")))
    table = open_samples(["d"]).table()
    base = locate(table.meta.root).base
    shard, offset = table.data["shard"][1].as_py(), table.data["offset"][1].as_py()
    assert (base / shard).read_bytes()[offset:].startswith(b"b.jpg\0")
    assert np.all(table.integers("size") == 2048)
