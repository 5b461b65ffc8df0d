"""Inputs that keep a command busy for seconds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tiny_data import CLASSES


def write_photos(folder, sizes=(200, 120, 60), side=(1600, 1200)):
    """JPEGs that take a while to decode; those of a class are links to one file."""
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    for number, (name, count) in enumerate(zip(CLASSES, sizes, strict=False)):
        place = folder / name
        place.mkdir(parents=True)
        Image.fromarray(np.roll(noise, 9 * number, 0)).resize(side).save(place / "0000.jpg", quality=85)
        for copy in range(1, count):
            (place / f"{copy:04}.jpg").hardlink_to(place / "0000.jpg")
    return folder


def write_features(path, count=20_000, width=512, classes=10):
    """Recorded features of noise."""
    rng = np.random.default_rng(0)
    columns = {
        "key": [f"k{row:06}" for row in range(count)],
        "label": pa.array(rng.integers(0, classes, count), pa.int32()),
        "features": pa.FixedSizeListArray.from_arrays(
            pa.array(rng.normal(size=count * width).astype(np.float32)), width
        ),
    }
    pq.write_table(pa.table(columns), path)
    return path


def write_table(path, count=2_000_000, classes=100):
    """A score table without samples behind it."""
    rng = np.random.default_rng(0)
    columns = {
        "key": pa.array([f"c/{row:07}" for row in range(count)]),
        "label": pa.array(rng.integers(0, classes, count), pa.int32()),
        "el2n": pa.array(rng.random(count), pa.float32()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")
    return path


def repeat_samples(table, path, times):
    """A table that lists the samples of another many times over, with keys of their own."""
    data = pq.read_table(table)
    keys = pa.array([f"{key}-{number}" for number in range(times) for key in data["key"].to_pylist()])
    pq.write_table(pa.concat_tables([data] * times).set_column(0, "key", keys), path)
    return path
