"""Time and memory of the geometry of an embedding, against its pairwise products alone, and of a t-SNE.

python tests/benchmarks/geometry.py [SAMPLES] [WIDTH] [CLASSES,CLASSES,...] [SAMPLES_OF_THE_PICTURE]
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dprune_cli.metrics.geometry import measure
from dprune_cli.stages.tsne import lay_out

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PAGE = resource.getpagesize()


def make_embedding(count: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Clusters after a ReLU, as embeddings are, of unequal classes."""
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(classes, generator=generator) + 0.1
    target = torch.multinomial(share, count, replacement=True, generator=generator)
    centres = torch.randn(classes, width, generator=generator)
    values = torch.randn(count, width, generator=generator).mul_(0.5).add_(centres[target]).relu_()
    return values.to(DEVICE), target.to(DEVICE)


def multiply(points: Tensor) -> None:
    """Half of all products in double precision, a block at a time."""
    double = points.double()
    for first in range(0, len(double), 1024):
        for start in range(first, len(double), 4096):
            double[start : start + 4096] @ double[first : first + 1024].T


def resident() -> int:
    """Bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def observed(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and the most bytes more than before."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start, torch.cuda.max_memory_allocated() - before
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, most - before


def main() -> None:
    given = [*sys.argv[1:], *("50000", "512", "10,1000", "3000")[len(sys.argv) - 1 :]]
    count, width, drawn = int(given[0]), int(given[1]), int(given[3])
    print(f"{count} x {width} float32 on {DEVICE}, {torch.get_num_threads()} threads; ", end="")
    print(
        f"the embedding takes {4 * count * width / 1e6:.0f} MB, an N x N matrix {4 * count**2 / 1e6:.0f} MB"
    )
    for classes in map(int, given[2].split(",")):
        points, target = make_embedding(count, width, classes)
        products, _ = observed(lambda points=points: multiply(points))
        seconds, memory = observed(lambda points=points, target=target: measure(points, target))
        print(f"{classes} classes: {seconds:.1f} s, {seconds / products:.2f}x the products, ", end="")
        print(f"{memory / 1e6:.0f} MB beside the embedding")
    if drawn:
        seconds, memory = observed(lambda: lay_out(points[:drawn].cpu().numpy()))
        print(f"t-SNE of {drawn}: {seconds:.1f} s, {memory / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
