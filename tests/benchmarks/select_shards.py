"""`select --shards` of 30 % against a WebDataset reader -> ShardWriter loop and against `cp`, in one run.

Budgets: >= 15x the loop for 1 KB images; >= 4x for 100 KB photos, and >= 0.7 of a plain copy of the kept
bytes. What is timed of ours is all that select does to data: checking the spans and copying them.

    python tests/benchmarks/select_shards.py [FOLDER]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset as wds

from dprune_cli.io.dataset import open_samples
from dprune_cli.io.tar_copy import copy_spans
from dprune_cli.io.tar_plan import Spans

KEEP = 0.3


def write_shards(folder: Path, shards: int, samples: int, size: int) -> None:
    """Shards of random bytes and labels, as WebDataset writes them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    content = rng.bytes(size + samples)
    for shard in range(shards):
        with wds.TarWriter(str(folder / f"{shard:06d}.tar"), mtime=0) as writer:
            for row in range(samples):
                writer.write(
                    {"__key__": f"s{shard:03d}_{row:06d}", "jpg": content[row : row + size], "cls": b"3"}
                )


def webdataset_loop(folder: Path, out: Path, kept: set[str]) -> None:
    """What a user of WebDataset would write."""
    urls = sorted(map(str, folder.glob("*.tar")))
    with wds.ShardWriter(str(out / "%06d.tar"), maxcount=10_000, maxsize=1e9, verbose=0) as writer:
        for sample in wds.WebDataset(urls, shardshuffle=False):
            if sample["__key__"] in kept:
                writer.write(sample)


def timed(action: Callable[[Path], object], folder: Path, repeat: int) -> float:
    """Seconds of the fastest of several runs, each into a new folder."""
    times = []
    for _ in range(repeat):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        begin = time.perf_counter()
        action(folder)
        times.append(time.perf_counter() - begin)
    return min(times)


def run_cp(source: Path, out: Path) -> None:
    subprocess.run(["cp", "-r", str(source), str(out)], check=True)


def measure(name: str, root: Path, shards: int, samples: int, size: int, budget: float) -> None:
    data, out = root / "data", root / "out"
    write_shards(data, shards, samples, size)
    rows = open_samples([str(data)])
    kept = np.flatnonzero(np.random.default_rng(1).random(len(rows)) < KEEP)
    keys = [rows.keys[row] for row in kept.tolist()]
    spans = Spans(
        paths=[rows.base / shard for shard in rows.shards],
        source=rows.shard[kept],
        offset=rows.offset[kept],
        size=rows.size[kept],
        keys=keys,
    )
    loop = timed(lambda folder: webdataset_loop(data, folder, set(keys)), out, 1)
    plain = root / "plain"
    plain.mkdir()
    copy_spans(spans, plain)
    ours, copy = float("inf"), float("inf")
    for _ in range(10):
        # In turns, so that whatever else the machine does hits both.
        ours = min(ours, timed(lambda folder: copy_spans(spans, folder), out, 1))
        copy = min(copy, timed(lambda folder: run_cp(plain, folder), out, 1))
    print(
        f"{name}: {len(keys)} of {len(rows)} samples, {spans.size.sum() / 1e6:.0f} MB kept; "
        f"WebDataset {loop:.2f} s, ours {ours:.3f} s, cp {copy:.3f} s; "
        f"ratio {loop / ours:.1f}x (budget {budget:g}x), {copy / ours:.2f} of cp"
    )
    shutil.rmtree(root)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for name, *sizes in (("1 KB images", 4, 10_000, 1024, 15), ("100 KB photos", 4, 1500, 100_000, 4)):
            root = Path(folder) / name.replace(" ", "_")
            root.mkdir()
            measure(name, root, *sizes)


if __name__ == "__main__":
    main()
