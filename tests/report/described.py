"""A selection of images, its classes unequal, with names that YAML, Markdown and patterns take for more."""

from __future__ import annotations

import gc
import hashlib
import io
import re
import tarfile
import warnings

import numpy as np
import pyarrow.parquet as pq
from commands import must
from PIL import Image

from dprune_cli.io.table_meta import TableMeta
from dprune_cli.io.tar_plan import Shard
from dprune_cli.metrics.coverage import Coverage
from dprune_cli.report.cards.subject import Subject
from dprune_cli.stages.select import Left

NAMES = ["1e3", "<b>&amp; |*x*| `c`", "a: b # c", "no", 'say "hi" it\'s é🦆']
SIZES = (6, 4, 3, 2, 1)
SIDE = 5


def digest(pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels, np.uint8).tobytes()).hexdigest()


def write_images(folder, suffix="png"):
    """Images of noise as class/NUMBER.suffix; returns (class id, sha256 of the pixels) by key."""
    known = {}
    rng = np.random.default_rng(7)
    for label, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        (folder / name).mkdir(parents=True)
        for number in range(size):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.{suffix}")
            known[f"{name}/{number}"] = (label, digest(pixels))
    return known


def select(folder, *words):
    """Score and select with `--card` in a folder; returns the kept keys."""
    data, table = folder / "data", folder / "scores.parquet"
    if not table.exists():
        must("score", data, "-m random -o", table)
    must("select", table, "--by random --card --force -o", folder / "kept.parquet", *words)
    kept = pq.read_table(folder / "kept.parquet")
    return set(kept.filter(kept["keep"])["key"].to_pylist())


def python_of(card: str, package: str) -> str:
    """The block of code in a card that imports a package."""
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return next(block for block in blocks if block.startswith(f"import {package}"))


def run_webdataset(card: str) -> list:
    """The samples that the code of a card reads in the working folder."""
    scope: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves files open, until they are collected
        exec(python_of(card, "webdataset"), scope)
        samples = list(scope["samples"])
        gc.collect()
    return samples


def write_shard(path, samples):
    """A tar of members by name."""
    with tarfile.open(path, "w") as archive:
        for name, content in samples.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return Shard(path.name, len({name.partition(".")[0] for name in samples}), path.stat().st_size)


def subject_of(names, kept, **meta):
    left = Left("class", names, Coverage(np.array(kept) + 1, np.array(kept)), None)
    return Subject(left, None, TableMeta(classes=names, **meta))
