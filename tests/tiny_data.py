"""Images of unequal classes, as folders and as shards, made from seeded noise around a colour a class."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["ant", "bee", "cat", "dog"]
SIZES = (20, 12, 6, 2)
VALIDATION_SIZES = (6, 4, 2, 0)
SIDE = 8
PLACES = ["land", "water"]


def make_images(sizes=SIZES, seed=0):
    """(N,) labels and (N, SIDE, SIDE, 3) uint8 pixels, classes one after the other."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    colour = np.random.default_rng(99).integers(40, 216, (len(sizes), 1, 1, 3))
    noise = rng.normal(0, 200, (len(labels), SIDE, SIDE, 3))
    return labels, np.clip(colour[labels] + noise, 0, 255).astype(np.uint8)


def make_keys(sizes=SIZES):
    """Keys of the samples, in the order of `make_images`."""
    return [f"{CLASSES[label]}/{number:02}" for label, size in enumerate(sizes) for number in range(size)]


def as_png(pixels):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def write_folder(path: Path, sizes=SIZES, seed=0):
    """One `KEY.png` a sample, every class a folder even if it is empty."""
    for name in CLASSES:
        (path / name).mkdir(parents=True)
    _, pixels = make_images(sizes, seed)
    for key, image in zip(make_keys(sizes), pixels, strict=True):
        (path / f"{key}.png").write_bytes(as_png(image))
    return path


def write_shards(path: Path, sizes=SIZES, seed=0):
    """Two shards with `.png`, `.cls` and `.json` members; every third sample is on water."""
    path.mkdir(parents=True)
    (path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    labels, pixels = make_images(sizes, seed)
    keys = make_keys(sizes)
    for shard in range(2):
        with tarfile.open(path / f"{shard:06}.tar", "w") as archive:
            for row in range(shard, len(keys), 2):
                members = {
                    "png": as_png(pixels[row]),
                    "cls": str(labels[row]).encode(),
                    "json": json.dumps({"place": PLACES[row % 3 == 0]}).encode(),
                }
                for suffix, content in members.items():
                    item = tarfile.TarInfo(f"{keys[row]}.{suffix}")
                    item.size = len(content)
                    archive.addfile(item, io.BytesIO(content))
    return path
