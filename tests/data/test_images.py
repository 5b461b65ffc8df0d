from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from encoded_files import encode, make_samples

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data import batch as batch_module
from dprune_cli.data.batch import split
from dprune_cli.data.decode import decode_image
from dprune_cli.data.images import open_images
from dprune_cli.data.resident import Resident
from dprune_cli.data.streaming import Streaming

CPU = torch.device("cpu")
BAD = {2: "decode_error", 5: "empty_image"}


@pytest.fixture
def pictures():
    """Seven encoded images, two of them broken (rows 2 and 5), of several sizes and formats."""
    rng = np.random.default_rng(0)
    random = [rng.integers(0, 256, (side, side + 2, 3), dtype=np.uint8) for side in (16, 16, 16, 20, 31)]
    return {
        "a.png": encode(random[0]),
        "b.jpg": encode(random[1], "JPEG"),
        "c.jpg": b"this is a text",
        "d.webp": encode(random[2], "WEBP"),
        "e.bmp": encode(random[3], "BMP"),
        "f.png": b"",
        "g.png": encode(random[4]),
    }


def both(samples, size=16, **options):
    return (
        open_images(samples, image_size=size, cache_memory=None, device=CPU, **options),
        open_images(samples, image_size=size, cache_memory=0, device=CPU, **options),
    )


@pytest.mark.parametrize("shard", [None, "shard.tar"])
@pytest.mark.parametrize("size", [16, 112])
def test_resident_and_streaming_agree(tmp_path, pictures, shard, size):
    samples = make_samples(tmp_path, pictures, shard=shard)
    raws = list(pictures.values())
    resident, streaming = both(samples, size)
    assert isinstance(resident, Resident) and isinstance(streaming, Streaming)
    order = np.array([6, 0, 3, 3, 1, 4])
    for images in (resident, streaming):
        assert images.bad == BAD
        assert images.rows.tolist() == [0, 1, 3, 4, 6] and images.rows.dtype == np.int64
        assert (images.size, images.stored) == (size, {16: 16, 112: 128}[size])
        got = list(images.batches(list(split(order, 4))))
        assert [index.tolist() for index, _ in got] == [[6, 0, 3, 3], [1, 4]]
        pixels = torch.cat([pixels for _, pixels in got])
        assert pixels.dtype == torch.uint8
        expected = np.stack([decode_image(raws[row], images.stored) for row in order])
        assert np.array_equal(pixels.numpy(), expected)
        assert torch.equal(images.get(torch.tensor(order)), pixels)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(tmp_path, workers):
    rng = np.random.default_rng(1)
    files = {f"{i:03}.png": encode(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(150)}
    samples = make_samples(tmp_path, files, shard="s.tar")
    expected = torch.from_numpy(np.stack([decode_image(raw, 8) for raw in files.values()]))
    for images in both(samples, 8, workers=workers):
        batches = images.batches(list(split(images.rows, 7)))
        assert torch.equal(torch.cat([pixels for _, pixels in batches]), expected)


def test_rows_that_the_index_refused_are_left_out(tmp_path, pictures):
    status = ["missing_label", *["ok"] * 5, "duplicate_key"]
    for images in both(make_samples(tmp_path, pictures, status=status)):
        assert images.rows.tolist() == [1, 3, 4] and images.bad == BAD
        for row in (0, 2):
            with pytest.raises(ValueError, match=f"row {row} is not usable"):
                images.get(torch.tensor([1, row]))


def test_no_rows_no_batches(tmp_path, pictures):
    for images in both(make_samples(tmp_path, pictures)):
        assert list(images.batches([])) == []


def test_a_batch_of_no_rows_is_empty(tmp_path, pictures):
    pieces = [np.array([0]), np.empty(0, np.int64), np.array([1, 3])]
    for images in both(make_samples(tmp_path, pictures), 16):
        assert [tuple(pixels.shape) for _, pixels in images.batches(pieces)] == [
            (count, 3, 16, 16) for count in (1, 0, 2)
        ]


def test_only_the_rows_that_are_wanted_are_decoded(tmp_path, pictures):
    for images in both(make_samples(tmp_path, pictures), rows=np.array([1, 2, 3])):
        assert images.rows.tolist() == [1, 3] and images.bad == {2: BAD[2]}
        with pytest.raises(ValueError, match="row 0 is not usable"):
            images.get(torch.tensor([0]))


def test_progress_ends_at_the_total(tmp_path, pictures):
    seen = []
    both(make_samples(tmp_path, pictures), progress=lambda *step: seen.append(step))
    assert seen == [(7, 7), (7, 7)]


def test_the_budget_decides(tmp_path, pictures):
    samples = make_samples(tmp_path, pictures)
    need = 7 * 3 * 16 * 16
    for memory, kind in ((need, Resident), (need - 1, Streaming)):
        assert isinstance(open_images(samples, image_size=16, cache_memory=memory, device=CPU), kind)


def test_the_size_is_chosen_from_the_data(tmp_path, pictures):
    samples = make_samples(tmp_path, pictures)  # shorter sides 16, 16, 16, 20, 31
    assert open_images(samples, image_size=None, cache_memory=None, device=CPU).size == 16


def test_nothing_usable(tmp_path):
    samples = make_samples(tmp_path, {"a.png": b"", "b.png": b"text", "c.png": b"text"})
    for memory in (None, 0):
        images = open_images(samples, image_size=8, cache_memory=memory, device=CPU)
        assert list(images.bad) == [0, 1, 2] and len(images.rows) == 0
    none = make_samples(tmp_path, {"a.png": b""}, status=["missing_label"])
    with pytest.raises(DataError, match="no usable sample"):
        open_images(none, image_size=8, cache_memory=None, device=CPU)
    with pytest.raises(UsageError, match="at least 8"):
        open_images(samples, image_size=7, cache_memory=None, device=CPU)


@pytest.mark.parametrize("memory", [None, 0])
def test_a_bug_in_a_worker_is_not_swallowed(tmp_path, pictures, monkeypatch, memory):
    def fail(raw, side):
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(batch_module, "decode_image", fail)
    with pytest.raises(ZeroDivisionError):
        open_images(make_samples(tmp_path, pictures), image_size=8, cache_memory=memory, device=CPU)


def test_an_image_that_breaks_while_streaming(tmp_path, pictures):
    samples = make_samples(tmp_path, pictures)
    images = open_images(samples, image_size=16, cache_memory=0, device=CPU)
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"a\.png: the image of a can no longer be decoded"):
        images.get(torch.tensor([0]))
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="cannot read"):
        images.get(torch.tensor([0]))


def test_reading_ahead_is_bounded_and_stops_when_left(tmp_path, monkeypatch):
    files = {f"{i:03}.png": encode(np.full((8, 8, 3), i, np.uint8)) for i in range(200)}
    images = open_images(make_samples(tmp_path, files), image_size=8, cache_memory=0, device=CPU, workers=1)
    decoded = []
    real = batch_module.decode_image
    monkeypatch.setattr(batch_module, "decode_image", lambda raw, side: decoded.append(0) or real(raw, side))
    batches = images.batches(list(split(images.rows, 10)))
    index, pixels = next(batches)
    assert index.tolist() == list(range(10)) and pixels[:, 0, 0, 0].tolist() == list(range(10))
    batches.close()
    assert len(decoded) <= 60
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_global_random_state_is_untouched(tmp_path, pictures):
    before = torch.get_rng_state()
    both(make_samples(tmp_path, pictures))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.gpu
def test_images_arrive_on_the_gpu(tmp_path, pictures):
    samples = make_samples(tmp_path, pictures)
    device = torch.device("cuda")
    rows = torch.tensor([6, 0, 3])
    expected = open_images(samples, image_size=16, cache_memory=None, device=CPU).get(rows)
    for images in (
        open_images(samples, image_size=16, cache_memory=None, device=device),
        open_images(samples, image_size=16, cache_memory=0, device=device),
        Resident(samples, 16, device, CPU),
    ):
        got = images.get(rows)
        assert got.device.type == "cuda" and torch.equal(got.cpu(), expected)
