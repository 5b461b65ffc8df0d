from __future__ import annotations

import io
import json
import os
import resource
import signal
import tarfile

import numpy as np
import pytest
from tars import pairs, write_tar

from dprune_cli.core.errors import DataError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.tar_copy import copy_spans, stream_spans
from dprune_cli.io.tar_index import index_tar
from dprune_cli.io.tar_pack import ImageFiles, pack_images, read_classes, write_index
from dprune_cli.io.tar_plan import Spans, plan_shards

LONG = "folder/" * 30


def spans_of(samples, rows):
    rows = np.array(rows, np.int64)
    return Spans(
        paths=[samples.base / name for name in samples.shards],
        source=samples.shard[rows],
        offset=samples.offset[rows],
        size=samples.size[rows],
        keys=[samples.keys[row] for row in rows],
    )


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for shard in range(3):
        files = []
        for row in range(20):
            key = f"{LONG if row % 5 == 0 else ''}s{shard}_{row}"
            size = 200_000 if row == 7 else row * 40
            files += [(f"{key}.jpg", rng.bytes(size)), (f"{key}.cls", str(row % 3).encode())]
        write_tar(tmp_path / "data" / f"{shard}.tar", files, tarfile.PAX_FORMAT, 0.5 * shard)
    return open_samples([str(tmp_path / "data")])


def contents(path):
    with tarfile.open(path) as archive:
        return [(item.name, archive.extractfile(item).read(), item.mtime) for item in archive.getmembers()]


@pytest.mark.parametrize("order", ["kept", "shuffled"])
def test_copies_are_bit_for_bit(data, tmp_path, order):
    rng = np.random.default_rng(1)
    rows = np.flatnonzero(rng.random(len(data)) < 0.6)
    if order == "shuffled":
        rng.shuffle(rows)
    out = tmp_path / "out"
    out.mkdir()
    shards = copy_spans(spans_of(data, rows), out, shard_samples=10)
    assert sorted(os.listdir(out)) == [shard.name for shard in shards]
    full, rest = divmod(len(rows), 10)
    assert [shard.samples for shard in shards] == [10] * full + [rest] * (rest > 0)
    everything = {name: rest for shard in data.shards for name, *rest in contents(data.base / shard)}
    written = [member for shard in shards for member in contents(out / shard.name)]
    names = [name for row in rows for name in (f"{data.keys[row]}.jpg", f"{data.keys[row]}.cls")]
    assert [name for name, _, _ in written] == names
    assert all([content, mtime] == everything[name] for name, content, mtime in written)
    for shard in shards:
        raw = (out / shard.name).read_bytes()
        assert len(raw) == shard.size
        assert raw.endswith(bytes(1024))
        assert index_tar(out / shard.name).damage is None
    first = rows[0]
    begin = data.offset[first]
    source = data.path(first).read_bytes()[begin : begin + data.size[first]]
    assert (out / shards[0].name).read_bytes().startswith(source)


def test_a_stream_is_the_shard(data, tmp_path):
    spans = spans_of(data, range(0, len(data), 3))
    copy_spans(spans, tmp_path)
    sink = io.BytesIO()
    shard = stream_spans(spans, sink)
    assert sink.getvalue() == (tmp_path / "000000.tar").read_bytes()
    assert shard.size == len(sink.getvalue())
    with open(tmp_path / "s.tar", "wb") as file:
        stream_spans(spans, file)
    assert (tmp_path / "s.tar").read_bytes() == sink.getvalue()


def test_nothing_kept(data, tmp_path):
    assert copy_spans(spans_of(data, []), tmp_path / "absent") == []


def test_shards_end_at_either_limit():
    size = np.array([5120] * 5 + [512] * 5)
    assert plan_shards(size, 4, 10**9) == [(0, 4), (4, 8), (8, 10)]
    assert plan_shards(size, 100, 2 * 5120 + 1024) == [(0, 2), (2, 4), (4, 10)]
    assert plan_shards(size, 100, 1) == [(row, row + 1) for row in range(10)]
    assert plan_shards(size[:0], 4, 100) == []


def damage_name(path):
    raw = bytearray(path.read_bytes())
    place = raw.index(b"s1_3.jpg")
    raw[place : place + 4] = b"s1_4"
    head = place // 512 * 512
    raw[head + 148 : head + 156] = b" " * 8
    raw[head + 148 : head + 156] = b"%06o\0 " % sum(raw[head : head + 512])
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:100_000]), "changed since it was scored"),
        (lambda path: path.write_bytes(b""), "changed since it was scored"),
        (lambda path: path.write_bytes(bytes(512) + path.read_bytes()), "changed since it was scored"),
        (lambda path: write_tar(path, pairs(("q", b"x" * 10**6, "0"))), "changed since it was scored"),
        (damage_name, r"1.tar: changed since it was scored \(key 's1_3'"),
    ],
)
def test_a_changed_shard_is_an_error(data, tmp_path, change, message):
    spans = spans_of(data, range(len(data)))
    change(data.base / "1.tar")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match=message):
        copy_spans(spans, out)
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("offset", "size"), [(512, 0), (0, -512), (0, 512), (-512, 0), (3, 0), (-(10**9), 0)]
)
def test_wrong_spans_are_an_error(data, offset, size):
    spans = spans_of(data, range(len(data)))
    spans.offset[21] += offset
    spans.size[21] += size
    with pytest.raises(DataError, match="s1_1"):
        stream_spans(spans, io.BytesIO())


def test_a_full_disk_is_an_os_error(data, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limit[1]))
    try:
        with pytest.raises(OSError, match="large"):
            copy_spans(spans_of(data, range(len(data))), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def make_files(tmp_path):
    names = ["cat/a.v2.JPG", "cat/deep/b.png", "dog/" + "é" * 100 + ".jpeg"]
    paths = [tmp_path / "images" / name for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (500 + number * 12))
    keys = ["cat/a", "cat/deep/b", "dog/" + "é" * 100]
    return ImageFiles(paths, keys, np.array([4, 4, 11]))


def test_packing(tmp_path):
    from webdataset.tariterators import group_by_keys, tar_file_expander

    files = make_files(tmp_path)
    shards = pack_images(files, tmp_path, shard_samples=2)
    assert [(shard.name, shard.samples) for shard in shards] == [("000000.tar", 2), ("000001.tar", 1)]
    found = []
    for shard in shards:
        assert (tmp_path / shard.name).stat().st_size == shard.size
        with open(tmp_path / shard.name, "rb") as stream:
            found += list(group_by_keys(tar_file_expander([{"url": "x", "stream": stream}], eof_value=None)))
    images = [next(item[name] for name in ("jpg", "png", "jpeg") if name in item) for item in found]
    assert [item["__key__"] for item in found] == files.keys
    assert [item["cls"] for item in found] == [b"4", b"4", b"11"]
    assert images == [path.read_bytes() for path in files.paths]
    again = tmp_path / "again"
    again.mkdir()
    os.utime(files.paths[0], (0, 0))
    pack_images(files, again, shard_samples=2)
    assert all((again / s.name).read_bytes() == (tmp_path / s.name).read_bytes() for s in shards)


def test_packing_refuses(tmp_path):
    files = make_files(tmp_path)
    with pytest.raises(DataError, match="metadata"):
        pack_images(ImageFiles(files.paths[:1], ["__x__/a"], files.label[:1]), tmp_path)
    files.paths[1].unlink()
    with pytest.raises(DataError, match="missing"):
        pack_images(files, tmp_path)


def test_index(tmp_path):
    shards = pack_images(make_files(tmp_path), tmp_path)
    write_index(tmp_path, shards)
    size = (tmp_path / "000000.tar").stat().st_size
    assert json.loads((tmp_path / "index.json").read_text()) == {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "shardlist": [{"url": "000000.tar", "nsamples": 3, "filesize": size}],
    }
    assert not (tmp_path / "classes.txt").exists()
    write_index(tmp_path, shards, ["0", "1", "2"])
    assert read_classes(tmp_path / "classes.txt") == ["0", "1", "2"]
    write_index(tmp_path, shards, ["cat", "weiße Maus"])
    assert read_classes(tmp_path / "classes.txt") == ["cat", "weiße Maus"]
    with pytest.raises(DataError, match="line breaks"):
        write_index(tmp_path, shards, ["a\nb"])
    for raw in (b"a\n\nb", b"a\na", b"\xff", b""):
        (tmp_path / "classes.txt").write_bytes(raw)
        with pytest.raises(DataError, match=r"classes.txt"):
            read_classes(tmp_path / "classes.txt")
