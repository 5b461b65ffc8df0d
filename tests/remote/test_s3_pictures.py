"""Thumbnails out of a bucket: the same as from a disk, and only the bytes of what is shown are sent."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import write_folder, write_shards

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
