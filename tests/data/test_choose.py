from __future__ import annotations

import numpy as np
import pytest
from encoded_files import encode, make_samples

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data import choose
from dprune_cli.data.choose import choose_image_size, stored_size
from dprune_cli.data.memory import host_memory, parse_memory


def images_of(*sides):
    return {
        f"k{i}.png": encode(np.zeros((side, side + 5 * (i % 2)), np.uint8)) for i, side in enumerate(sides)
    }


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ((32, 32, 500), 32),
        ((28, 28, 28), 28),
        ((33,), 34),
        ((3,), 8),
        ((95, 96, 97), 96),
        ((97,), 224),
        ((500, 375, 20), 224),
    ],
)
def test_the_median_shorter_side_decides(tmp_path, sides, size):
    assert choose_image_size(make_samples(tmp_path, images_of(*sides))) == size


def test_broken_and_refused_images_have_no_vote(tmp_path):
    files = images_of(500, 40, 500) | {"bad.png": b"text", "none.png": b""}
    samples = make_samples(tmp_path, files, status=["missing_label", "ok", "duplicate_key", "ok", "ok"])
    assert choose_image_size(samples) == 40


def test_the_images_asked_depend_on_keys_not_on_order(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "_PROBES", 3)
    files = images_of(*range(10, 40, 2))
    backwards = dict(reversed(files.items()))
    sizes = {choose_image_size(make_samples(tmp_path, some)) for some in (files, backwards)}
    assert len(sizes) == 1


def test_no_readable_image(tmp_path):
    with pytest.raises(DataError, match="none of 1 images tried can be read"):
        choose_image_size(make_samples(tmp_path, {"a.png": b"text"}))


def test_stored_sizes():
    assert [stored_size(size) for size in (8, 96, 98, 224)] == [8, 96, 112, 256]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GB", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("500 mb", 5 * 10**8),
        ("0", 0),
        ("1024", 1024),
        ("3B", 3),
        ("2TiB", 2**41),
    ],
)
def test_amounts_of_memory(text, amount):
    assert parse_memory(text, "--cache-memory") == amount


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 XB", "1e9", "1.GB", "²GB", "1GBB"])
def test_no_amounts_of_memory(text):
    with pytest.raises(UsageError, match=r"--cache-memory .*: write an amount of memory"):
        parse_memory(text, "--cache-memory")


def test_the_machine_has_memory():
    assert host_memory() > 10**8
