"""Thumbnails out of folders and shards, and what happens where samples are broken or gone."""

from __future__ import annotations

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_data import write_folder, write_shards

from dprune_cli.core.errors import DataError
from dprune_cli.io.dataset import open_samples
from dprune_cli.stages import pictures
from dprune_cli.stages.pictures import read_thumbnails


def table_of(folder):
    return open_samples([str(folder)]).table()


def as_image(raw):
    image = Image.open(io.BytesIO(raw))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("write", [write_folder, write_shards])
def test_the_right_image_for_every_row(write, tmp_path):
    folder = write(tmp_path / "images")
    table = table_of(folder)
    rows = np.array([0, 3, 25, 39])
    found = read_thumbnails(table, rows, (), 4)
    keys = table.data["key"].to_pylist()
    originals = write_folder(tmp_path / "originals")
    assert list(found) == rows.tolist()
    for row, raw in found.items():
        original = np.asarray(Image.open(originals / f"{keys[row]}.png").convert("RGB")).astype(int)
        # As large as it was and nearly the same: noise is what a JPEG keeps worst.
        assert as_image(raw).shape == (8, 8, 3)
        assert abs(as_image(raw).mean((0, 1)) - original.mean((0, 1))).max() < 12


def test_large_images_become_small_squares(tmp_path):
    folder = write_folder(tmp_path / "images")
    Image.new("RGB", (200, 100), (200, 30, 30)).save(folder / "ant" / "00.png")
    raw = read_thumbnails(table_of(folder), np.array([0]), (), 1)[0]
    assert as_image(raw).shape == (64, 64, 3)
    small = read_thumbnails(table_of(folder), np.array([0]), (), 1000)[0]
    assert as_image(small).shape == (48, 48, 3)


def test_room_bounds_the_bytes_of_a_picture(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "images")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "ant" / "00.png")
    table = table_of(folder)
    best = len(read_thumbnails(table, np.array([0]), (), 1)[0])
    monkeypatch.setattr(pictures, "MOST_BYTES", best - 1)
    assert len(read_thumbnails(table, np.array([0]), (), 1)[0]) < best


def test_an_image_that_is_broken_has_no_thumbnail(tmp_path):
    folder = write_folder(tmp_path / "images")
    table = table_of(folder)
    (folder / "ant" / "01.png").write_bytes(b"not an image")
    assert list(read_thumbnails(table, np.array([0, 1, 2]), (), 3)) == [0, 2]


def test_a_shard_that_changed_is_an_error(tmp_path):
    folder = write_shards(tmp_path / "images")
    table = table_of(folder)
    os.replace(folder / "000001.tar", folder / "000000.tar")
    with pytest.raises(DataError, match=r"changed since it was scored|is missing"):
        read_thumbnails(table, np.array([0, 1]), (), 2)


def test_data_that_moved_is_found_where_it_is_now(tmp_path):
    folder = write_shards(tmp_path / "images")
    table = table_of(folder)
    shutil.move(folder, tmp_path / "moved")
    with pytest.raises(DataError, match="give --data DATA"):
        read_thumbnails(table, np.array([0]), (), 1)
    assert list(read_thumbnails(table, np.array([0]), [str(tmp_path / "moved")], 1)) == [0]


def test_a_table_that_does_not_say_where_samples_are(tmp_path):
    table = table_of(write_folder(tmp_path / "images"))
    with pytest.raises(DataError, match="does not say which files"):
        read_thumbnails(table.without("shard"), np.array([0]), (), 1)


def test_no_rows_need_no_data(tmp_path):
    table = table_of(write_folder(tmp_path / "images")).without("shard")
    assert read_thumbnails(table, np.array([], np.int64), (), 1) == {}


@pytest.mark.parametrize(("room", "share"), [(100, 90), (1, 3000)])
def test_pictures_share_the_bytes_of_a_page(tmp_path, monkeypatch, room, share):
    """Of 9,000 bytes, among as many as there will be, or as are read at a time if those are more."""
    given = []
    monkeypatch.setattr(pictures, "MOST_BYTES", 9000)
    monkeypatch.setattr(pictures, "_thumbnail", lambda raw, side, most: given.append(most))
    assert read_thumbnails(table_of(write_folder(tmp_path / "images")), np.arange(3), (), room) == {}
    assert given == [share] * 3


@pytest.mark.parametrize("write", [write_folder, write_shards])
def test_an_image_of_too_many_bytes_has_no_thumbnail(write, tmp_path, monkeypatch):
    folder = write(tmp_path / "images")
    table = table_of(folder)
    originals = write_folder(tmp_path / "originals")
    sizes = np.array([(originals / f"{key}.png").stat().st_size for key in table.data["key"].to_pylist()])
    most = int(np.median(sizes))
    monkeypatch.setattr(pictures, "MAX_BYTES", most)
    found = read_thumbnails(table, np.arange(40), (), 40)
    assert sorted(found) == np.flatnonzero(sizes <= most).tolist() and 0 < len(found) < 40
