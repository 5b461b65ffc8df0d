"""Thumbnails out of a bucket: the same as from a disk, and only the bytes of what is shown are sent."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import write_folder, write_shards

from dprune_cli.core.errors import DataError
from dprune_cli.io.dataset import open_samples
from dprune_cli.stages.pictures import read_thumbnails


@pytest.mark.parametrize("write", [write_shards, write_folder])
def test_pictures_out_of_a_bucket(s3, tmp_path, write):
    folder = write(tmp_path / "images")
    here = open_samples([str(folder)]).table()
    there = open_samples([s3.put(folder, "images")]).table()
    rows = np.array([1, 2, 38])
    s3.reset()
    found = read_thumbnails(there, rows, (), 3)
    assert list(found) == rows.tolist() and found == read_thumbnails(here, rows, (), 3)
    shards = s3.fetched(".tar")
    assert all(request.range for request in shards) and len(shards) <= 3
    assert s3.sent < 20_000


def test_a_shard_that_is_gone_is_said_before_any_is_fetched(s3, tmp_path):
    folder = write_shards(tmp_path / "images")
    table = open_samples([s3.put(folder, "images")]).table()
    (folder / "000001.tar").unlink()
    s3.empty()
    s3.put(folder, "images")
    s3.reset()
    with pytest.raises(DataError, match=r"000001\.tar: is missing; key '.*' was in it when it was scored"):
        read_thumbnails(table, np.array([0, 39]), (), 2)
    assert not [request for request in s3.fetched(".tar") if request.range]
