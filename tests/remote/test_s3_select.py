"""Selecting out of a bucket: the bytes are those of the disk, and only those of kept samples are sent."""

from __future__ import annotations

import numpy as np
import pytest
from commands import call, must
from tars import pairs, write_tar
from tiny_data import write_folder, write_shards

from dprune_cli.io.dataset import open_samples
from dprune_cli.io.remote_spans import fetch_windows
from dprune_cli.io.table import write_table
from dprune_cli.io.tar_plan import Spans

SIZE = 40_000


@pytest.fixture
def large(s3, tmp_path):
    """A table of 24 samples of 40 KB in two shards, here and there."""
    noise = np.random.default_rng(0)
    for shard in range(2):
        samples = [(f"k{shard}{row:02}", noise.bytes(SIZE), "ab"[row % 3 == 0]) for row in range(12)]
        write_tar(tmp_path / f"large/{shard}.tar", pairs(*samples))
    url = s3.put(tmp_path / "large", "large")
    write_table(open_samples([url]).table(), str(tmp_path / "there.parquet"))
    write_table(open_samples([str(tmp_path / "large")]).table(), str(tmp_path / "here.parquet"))
    s3.reset()
    return tmp_path


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_only_the_bytes_of_kept_samples_are_sent(s3, large):
    must(
        "select", large / "there.parquet", "--by random --keep 6 -q -o", large / "k1", "--shards", large / "a"
    )
    must(
        "select", large / "here.parquet", "--by random --keep 6 -q -o", large / "k2", "--shards", large / "b"
    )
    assert files(large / "a") == files(large / "b")
    kept = (large / "a/000000.tar").stat().st_size
    assert 6 * SIZE < s3.sent < 1.05 * kept
    assert all(request.range for request in s3.fetched(".tar"))


def test_neighbours_and_small_gaps_are_one_request(s3, large):
    must(
        "select", large / "there.parquet", "--by random --keep 23 -q -o", large / "k", "--shards", large / "a"
    )
    assert len(s3.fetched(".tar")) == 2
    assert s3.sent <= 24 * (SIZE + 4000)


@pytest.mark.parametrize(
    "option", ["--shards OUT --shuffle", "--shards OUT --shard-samples 2", "--folder OUT"]
)
def test_every_way_to_write_samples_is_that_of_the_disk(s3, large, option):
    for name in ("there", "here"):
        words = option.replace("OUT", str(large / f"{name}.out"))
        must(
            "select",
            large / f"{name}.parquet",
            "--by random --keep 7 -q",
            words,
            "-o",
            large / f"{name}.kept",
        )
    assert files(large / "there.out") == files(large / "here.out")


def test_a_stream_is_that_of_the_disk(large):
    there, here = (
        must("select", large / f"{name}.parquet", "--by random --keep 7 -q --shards -").out
        for name in ("there", "here")
    )
    assert there == here and len(there) > 7 * SIZE


def test_an_image_folder_is_packed_and_copied_as_from_the_disk(s3, tmp_path):
    local = write_folder(tmp_path / "images")
    url = s3.put(local, "images")
    for name, root in (("there", url), ("here", str(local))):
        write_table(open_samples([root]).table(), f"{tmp_path / name}.parquet")
        outputs = f"--shards {tmp_path / name} --folder {tmp_path / name}.folder -o {tmp_path / name}.kept"
        must("select", f"{tmp_path / name}.parquet", "--by random --keep 0.5 -q", outputs)
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert files(tmp_path / "there.folder") == files(tmp_path / "here.folder")


@pytest.mark.parametrize("change", ["other keys", "shorter", "gone"])
def test_a_shard_that_changed_since_is_an_error_and_nothing_is_written(s3, large, change):
    if change == "gone":
        s3.client.delete_object(Bucket="bucket", Key="large/1.tar")
    else:
        rows = 12 if change == "other keys" else 3
        samples = [(f"q1{row:02}", b"x" * SIZE, "a") for row in range(rows)]
        s3.put(write_tar(large / "other.tar", pairs(*samples)), "large/1.tar")
    for option in ("--shards", "--folder"):
        done = call(
            "select",
            large / "there.parquet",
            "--by random --keep 20 -q -o",
            large / "k",
            option,
            large / "out",
        )
        assert done.code == 3
        assert (
            "s3://bucket/large/1.tar: " in done.line
            and ("is missing" if change == "gone" else "changed") in done.line
        )
        assert not (large / "out").exists() and not (large / "k").exists()


def test_the_data_may_have_moved_to_a_url(s3, large):
    must(
        "select",
        large / "here.parquet",
        "--data s3://bucket/large --by random --keep 3 -q -o",
        large / "k",
        "--shards",
        large / "a",
    )
    assert len(s3.fetched(".tar")) == 3


def test_small_windows_and_requests_give_the_same_bytes(s3, large, monkeypatch):
    samples = open_samples(["s3://bucket/large"])
    order = np.random.default_rng(1).permutation(len(samples))[:17]
    spans = Spans(
        [samples.base / name for name in samples.shards],
        samples.shard[order],
        samples.offset[order],
        samples.size[order],
        [samples.keys[row] for row in order],
    )
    local = [(large / "large" / name).read_bytes() for name in samples.shards]
    wanted = b"".join(
        local[int(samples.shard[row])][int(samples.offset[row]) :][: int(samples.size[row])] for row in order
    )
    for window, request in ((1, 1), (100_000, 50_000), (1 << 30, 1 << 30)):
        monkeypatch.setattr("dprune_cli.io.remote_spans._WINDOW", window)
        monkeypatch.setattr("dprune_cli.io.remote_spans._REQUEST", request)
        found = list(fetch_windows(spans, 2, 17))
        assert b"".join(one.buffer for one in found) == wanted[int(samples.size[order[:2]].sum()) :]
        assert np.concatenate([one.rows for one in found]).tolist() == list(range(2, 17))


def test_shards_with_labels_and_groups_too(s3, tmp_path):
    url = s3.put(write_shards(tmp_path / "train"), "train")
    samples = open_samples([url], group_field="place")
    write_table(samples.table(), str(tmp_path / "t"))
    must("select", tmp_path / "t", "--by random --keep 0.3 -q -o", tmp_path / "k", "--shards", tmp_path / "a")
    kept = open_samples([str(tmp_path / "a")], group_field="place")
    place = [samples.keys.index(key) for key in kept.keys]
    assert len(kept) == 12 and kept.label.tolist() == samples.label[place].tolist()
    assert kept.named_groups() == [samples.named_groups()[row] for row in place]
