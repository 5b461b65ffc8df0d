"""CG's closed form against leaving every sample out and solving anew, and what 50,000 samples cost.

Checked: equal to a direct solve to 1e-6. The large data set is scored with one draw of others; more draws
take as many times longer and no more memory.

    python tests/benchmarks/cg.py [SMALL] [SAMPLES] [WIDTH] [CLASSES]
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import torch

from dprune_cli.scores.base import SCORES
from dprune_cli.scores.cg import Cg, complexity_gaps, kernel
from dprune_cli.train.observe import RunInfo


def make_points(samples: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes behind a ReLU, as embeddings often look; float32."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    centres = rng.normal(0, 0.7, (classes, width))
    points = np.empty((samples, width), np.float32)
    # Row by row, for the peak of memory is to be that of scoring.
    for point, label in zip(points, labels, strict=True):
        point[:] = np.maximum(centres[label] + rng.standard_normal(width), 0)
    return labels, points


def compare_exactness(count: int) -> None:
    """One task of two classes of `count` samples, once by the closed form and once by the definition."""
    labels, points = make_points(4 * count, 512, 2)
    chosen = np.concatenate([np.flatnonzero(labels == number)[:count] for number in (0, 1)])
    vectors = points[chosen].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    label = np.repeat([-1.0, 1.0], count)
    begin = time.perf_counter()
    ours = complexity_gaps(kernel(torch.from_numpy(vectors)), count)
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    cosine = np.clip(vectors @ vectors.T, -1, 1)
    matrix = cosine * (np.pi - np.arccos(cosine)) / (2 * np.pi)
    np.fill_diagonal(matrix, 0.5)
    whole = label @ np.linalg.solve(matrix, label)
    expected = []
    for row in range(count, 2 * count):
        rest = np.delete(np.arange(2 * count), row)
        part = label[rest] @ np.linalg.solve(matrix[np.ix_(rest, rest)], label[rest])
        expected.append(whole - part)
    naive = time.perf_counter() - begin
    assert ours is not None
    error = np.abs(ours.numpy() / np.array(expected) - 1).max()
    print(f"{count} samples and as many others: largest relative difference {error:.1e} (<= 1e-6)")
    print(f"closed form {seconds:.3f} s, one solve a sample {naive:.2f} s: {naive / seconds:.0f}x")


def measure_cost(samples: int, width: int, classes: int) -> None:
    """Time and peak memory of one draw with the default blocks."""
    labels, points = make_points(samples, width, classes)
    run = RunInfo([str(row) for row in range(samples)], torch.from_numpy(labels), classes, 1)
    embedding = torch.from_numpy(points)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    begin = time.perf_counter()
    SCORES.make("cg:repeats=1").compute(run, embedding=embedding)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 - before
    repeats = Cg().repeats
    print(f"{samples} x {width}, {classes} classes, {torch.get_num_threads()} threads:")
    print(f"one draw {seconds:.0f} s, the default of {repeats} draws {seconds * repeats:.0f} s")
    print(f"peak memory above the embeddings {peak:.2f} GB")


def main() -> None:
    small, samples, width, classes = [*map(int, sys.argv[1:]), *(300, 50_000, 512, 10)[len(sys.argv) - 1 :]]
    measure_cost(samples, width, classes)
    compare_exactness(small)


if __name__ == "__main__":
    main()
