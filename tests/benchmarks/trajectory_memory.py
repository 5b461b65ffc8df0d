"""Peak memory and time of `dprune score -m tdds --from-trajectory`, and the bytes that TDDS holds.

Budget: <= 2 GB for 50,000 samples, 100 classes and 90 epochs (a file of about 1.8 GB); one N x C matrix
and O(N K) against the authors' N x C an epoch.

    python tests/benchmarks/trajectory_memory.py [SAMPLES] [CLASSES] [EPOCHS]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dprune_cli.io.trajectory import Pass, TrajectoryWriter
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import RunInfo

BATCH = 1000
# Not `ru_maxrss`, which counts the parent's memory too where a process starts by vfork.
MEASURED = """
import sys
try:
    {code}
finally:
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
DPRUNE = "from dprune_cli.__main__ import main; main()"


def write_trajectory(path: Path, samples: int, classes: int, epochs: int) -> None:
    """Training visits in an order of each epoch's own; the label's logit grows."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % classes
    keys = np.array([f"class{label}/{row:07}" for row, label in enumerate(labels)])
    with TrajectoryWriter(path, classes) as writer:
        for epoch in range(1, epochs + 1):
            for rows in np.array_split(rng.permutation(samples), -(-samples // BATCH)):
                logits = rng.standard_normal((len(rows), classes), np.float32)
                logits[np.arange(len(rows)), labels[rows]] += 8 * epoch / epochs
                writer.write(keys[rows].tolist(), labels[rows], Pass(0, epoch, "train"), logits)


def run(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds and peak resident GB of Python code in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-c", MEASURED.format(code=code), *arguments]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, int(found.stdout.split()[-1]) / 1e6


def state_bytes(samples: int, classes: int, epochs: int) -> int:
    """Bytes of the state of the recorder behind the score."""
    info = RunInfo([""] * samples, torch.zeros(samples, dtype=torch.int64), classes, epochs)
    (recorder,) = SCORES.make(f"tdds:epochs={epochs}").recorders(epochs).values()
    recorder.start(info)
    return sum(tensor.nbytes for tensor in recorder.state.values())


def main() -> None:
    sizes = [int(text) for text in sys.argv[1:4]]
    samples, classes, epochs = sizes + [50_000, 100, 90][len(sizes) :]
    print(f"{samples} samples, {classes} classes, {epochs} epochs")
    with tempfile.TemporaryDirectory() as folder:
        path, table = Path(folder) / "trajectory.parquet", Path(folder) / "table.parquet"
        write_trajectory(path, samples, classes, epochs)
        print(f"trajectory {path.stat().st_size / 1e9:.2f} GB")
        idle, nothing = run("import dprune_cli.stages.score")
        spec = f"tdds:epochs={epochs}"
        recorded = ["--from-trajectory", str(path), "-o", str(table), "-q"]
        seconds, peak = run(DPRUNE, "score", "-m", spec, *recorded)
    print(f"score -m {spec}: {seconds:.1f} s, peak {peak:.2f} GB (<= 2)")
    print(f"of which imports {idle:.1f} s, {nothing:.2f} GB")
    held, theirs = state_bytes(samples, classes, epochs), samples * classes * 4 * epochs
    print(f"state {held / 1e6:.1f} MB against {theirs / 1e6:.1f} MB, {theirs / held:.1f}x less")


if __name__ == "__main__":
    main()
