from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from encoded_files import make_samples

from dprune_cli.core.errors import DataError
from dprune_cli.data import spans
from dprune_cli.data.decode import DecodeError
from dprune_cli.data.spans import SpanReader


def many_shards(base, shards=5, each=4):
    """Row r is image r % each of shard r // each and reads `SxIy`."""
    first = make_samples(base, {f"k{i}.png": f"S0I{i}".encode() for i in range(each)}, shard="0.tar")
    for shard in range(1, shards):
        make_samples(base, {f"k{i}.png": f"S{shard}I{i}".encode() for i in range(each)}, shard=f"{shard}.tar")
    return dataclasses.replace(
        first,
        shards=[f"{shard}.tar" for shard in range(shards)],
        keys=[str(row) for row in range(shards * each)],
        shard=np.repeat(np.arange(shards, dtype=np.int32), each),
        **{
            name: np.tile(getattr(first, name), shards)
            for name in ("label", "offset", "size", "image_offset", "image_size", "status")
        },
    )


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_threads_share_few_descriptors(tmp_path):
    samples = many_shards(tmp_path)
    reader = SpanReader(samples, max_open=2)
    before = open_descriptors()
    rows = np.random.default_rng(0).integers(0, len(samples), 500).tolist()
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(reader.read, rows))
    assert read == [f"S{row // 4}I{row % 4}".encode() for row in rows]
    assert open_descriptors() == before + 2
    reader.close()
    assert open_descriptors() == before
    assert reader.read(7) == b"S1I3"
    reader.close()


def test_a_shard_that_is_evicted_while_it_is_read_is_closed_by_its_reader(tmp_path):
    reader = SpanReader(many_shards(tmp_path), max_open=1)
    before = open_descriptors()
    with reader._shard(0) as descriptor:
        reader.read(5)
        assert os.pread(descriptor, 4, 4) == b"S0I0"
        assert open_descriptors() == before + 2
    assert open_descriptors() == before + 1
    reader.close()


def test_image_files_are_read_whole_and_closed(tmp_path):
    reader = SpanReader(make_samples(tmp_path, {"a.png": b"one", "b.png": b"three"}))
    before = open_descriptors()
    assert [reader.read(row) for row in (1, 0)] == [b"three", b"one"]
    assert open_descriptors() == before


def test_missing_files_and_shards(tmp_path):
    samples = many_shards(tmp_path, shards=1)
    (tmp_path / "0.tar").unlink()
    with pytest.raises(DataError, match=r"cannot read .*0\.tar: No such file"):
        SpanReader(samples).read(0)


def test_a_stray_video_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(spans, "MAX_BYTES", 4)
    reader = SpanReader(make_samples(tmp_path, {"a.png": b"four", "b.png": b"fiver"}))
    assert reader.read(0) == b"four"
    with pytest.raises(DecodeError) as caught:
        reader.read(1)
    assert caught.value.status == "too_large"
