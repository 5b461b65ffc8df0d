"""Whoever copies says how far it is: never backwards, and in the end all of it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from dprune_cli.io.dataset import open_samples
from dprune_cli.io.folder_out import unpack_images, write_images
from dprune_cli.io.tar_copy import copy_spans, stream_spans
from dprune_cli.io.tar_pack import ImageFiles, pack_images, stream_images
from dprune_cli.io.tar_plan import Meter, Spans


class Told(list):
    def __call__(self, done, total):
        self.append((done, total))

    def check(self, total):
        assert [done for done, _ in self] == sorted(done for done, _ in self)
        assert {total for _, total in self} == {total} and self[-1] == (total, total)
        assert sum(done == total for done, _ in self) == 1


@pytest.fixture
def spans(shard_folder):
    data = open_samples([str(shard_folder)])
    paths = [data.base / shard for shard in data.shards]
    return Spans(paths, data.shard, data.offset, data.size, data.keys), data


@pytest.fixture
def files(image_folder):
    data = open_samples([str(image_folder)])
    return ImageFiles([data.base / shard for shard in data.shards], data.keys, data.label), data


def test_copies_of_shards(spans, tmp_path):
    checked, copied = Told(), Told()
    copy_spans(spans[0], tmp_path, shard_samples=7, checked=checked, copied=copied)
    checked.check(40)
    copied.check(int(spans[0].size.sum()))
    for make in (io.BytesIO, (tmp_path / "stream").open):
        checked, copied = Told(), Told()
        with make() if make is io.BytesIO else make("wb") as sink:
            stream_spans(spans[0], sink, checked=checked, copied=copied)
        checked.check(40)
        copied.check(int(spans[0].size.sum()))


def test_packed_images(files, tmp_path):
    for write in (
        lambda copied: pack_images(files[0], tmp_path, shard_samples=7, copied=copied),
        lambda copied: stream_images(files[0], io.BytesIO(), copied=copied),
    ):
        copied = Told()
        write(copied)
        copied.check(copied[-1][1])


def test_folders(files, spans, tmp_path):
    written = Told()
    write_images(files[0], tmp_path / "links", files[1].classes, written=written)
    written.check(40)
    checked, written = Told(), Told()
    label, classes = spans[1].label, spans[1].classes
    unpack_images(spans[0], label, tmp_path / "out", classes, checked=checked, written=written)
    checked.check(40)
    written.check(40)


def test_indexing(shard_folder, image_folder):
    for folder, count in ((shard_folder, 2), (image_folder, 40)):
        indexed = Told()
        open_samples([str(folder)], indexed=indexed)
        indexed.check(count)


def test_bytes_are_reported_now_and_then():
    told = Told()
    meter = Meter(10 << 20, told)
    for size in np.full(10 << 10, 1 << 10).tolist():
        meter.add(size)
    told.check(10 << 20)
    assert told == [(4 << 20, 10 << 20), (8 << 20, 10 << 20), (10 << 20, 10 << 20)]
    nothing = Told()
    Meter(0, nothing).add(0)
    assert nothing == []
