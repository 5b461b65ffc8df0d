"""Exact gradient norms against the passes they stand in for, in one run, taking turns.

Budgets: <= 2x a batched forward and backward pass of the same samples on a CPU; on a GPU also >= 8x faster
than one backward a sample. Models of dprune, random 32 x 32 images, eval mode.

    python tests/benchmarks/grand.py [SAMPLES] [MODEL ...]
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dprune_cli.models.build import build_model
from dprune_cli.train.losses import sample_loss
from dprune_cli.train.per_sample_grad import GradNorms
from dprune_cli.train.probe import GRAD_MEMORY

MODELS = ["resnet18", "vgg16", "tiny"]
BATCH = 128
REPEATS = 5
# One backward a sample is slow: it is measured on some of the samples.
ONE_BY_ONE = 32


def make_batch(samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random images and labels of ten classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(samples, 3, 32, 32, generator=generator)
    target = torch.randint(0, 10, (samples,), generator=generator)
    return pixels.to(device, memory_format=torch.channels_last), target.to(device)


def batched(model: nn.Module, pixels: Tensor, target: Tensor, size: int) -> None:
    """Forward and backward passes, with gradients of all parameters, as in training."""
    for some, labels in zip(pixels.split(size), target.split(size), strict=True):
        model.zero_grad(set_to_none=True)
        sample_loss(model(some), labels).mean().backward()
    model.zero_grad(set_to_none=True)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of some work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure_peak(name: str, samples: int, memory: int) -> float:
    """Bytes that one call takes beyond model and batch, by a process of its own on a CPU."""
    if torch.cuda.is_available():
        device = torch.device("cuda")
        model = build_model(name, 10, 32, seed=0).to(device).eval()
        pixels, target = make_batch(samples, device)
        GradNorms(model, 1)(pixels[:1], target[:1])
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        GradNorms(model, memory)(pixels, target)
        return torch.cuda.max_memory_allocated() - before
    command = [sys.executable, __file__, "--peak", name, str(samples), str(memory)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(name: str, samples: int, memory: int) -> None:
    """What `measure_peak` starts."""
    model = build_model(name, 10, 32, seed=0).eval()
    pixels, target = make_batch(samples, torch.device("cpu"))
    # The libraries' own memory, taken at the first call, is not what is measured.
    GradNorms(model, 1)(pixels[:1], target[:1])
    before = high_water()
    GradNorms(model, memory)(pixels, target)
    print(high_water() - before)


def high_water() -> int:
    """Bytes that this process has held at most; `ru_maxrss` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) * 1024


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{samples} samples on {device.type}, {torch.get_num_threads()} threads, median of {REPEATS}")
    for name in sys.argv[2:] or MODELS:
        model = build_model(name, 10, 32, seed=0).to(device).eval()
        pixels, target = make_batch(samples, device)
        norms = GradNorms(model, GRAD_MEMORY)
        one = GradNorms(model, GRAD_MEMORY)
        one._ways = ["backward"]
        some = slice(min(ONE_BY_ONE, samples))
        works: dict[str, Callable[[], object]] = {
            "norms": lambda: norms(pixels, target),  # noqa: B023
            "batched": lambda: batched(model, pixels, target, BATCH),  # noqa: B023
            "whole": lambda: batched(model, pixels, target, samples),  # noqa: B023
            "one by one": lambda: one(pixels[some], target[some]),  # noqa: B023
        }
        times: dict[str, list[float]] = {what: [] for what in works}
        for turn in range(REPEATS + 1):
            for what, work in works.items():
                spent = seconds(work, device)
                if turn:  # the first one warms up
                    times[what].append(spent)
        took = {what: statistics.median(spent) for what, spent in times.items()}
        single = took["one by one"] * samples / len(pixels[some])
        peak = measure_peak(name, samples, GRAD_MEMORY)
        print(
            f"{name}: by {norms.way}, {took['norms']:.2f} s"
            f" = {took['norms'] / took['batched']:.2f}x forward and backward in batches of {BATCH} (<= 2x),"
            f" {took['norms'] / took['whole']:.2f}x in one batch;"
            f" {single / took['norms']:.1f}x faster than one backward a sample (>= 8x on a GPU);"
            f" peak {peak / 1e6:,.0f} MB of {GRAD_MEMORY / 1e6:,.0f} MB"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print_peak(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
