"""How long `rcap` takes to plan an epoch of 1.28 million samples in 1,000 classes. Budget: 0.5 s."""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import torch

from dprune_cli.core.seeds import numpy_rng
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.observe import RunInfo


class Keys:
    """As many keys as wanted, without the memory for them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> str:
        return str(row)


def main() -> None:
    """Time `plan` of the second to the last epoch, after the losses of the first were remembered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_280_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--sampler", nargs="*", default=["rcap", "rcap:aggregate=class", "rs2"])
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    # Unequal classes, of which the largest is ten times the smallest.
    share = np.linspace(10, 1, given.classes)
    label = rng.choice(given.classes, given.samples, p=share / share.sum())
    info = RunInfo(Keys(given.samples), torch.from_numpy(label), given.classes, given.epochs)
    loss = torch.from_numpy(rng.gamma(2.0, 1.5, given.samples).astype(np.float32))
    for spec in given.sampler:
        sampler = SAMPLERS.make(spec)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sampler.start(info, round(given.keep * given.samples))
        seconds = []
        for epoch in range(1, given.epochs + 1):
            began = time.perf_counter()
            plan = sampler.plan(epoch, numpy_rng(0, "sampler", 0, epoch))
            seconds.append(time.perf_counter() - began)
            if "loss" in sampler.state:
                rows = torch.from_numpy(plan.rows)
                sampler.state["loss"][rows] = loss[rows]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"{spec}: {len(plan.rows)} of {given.samples} samples in {given.classes} classes planned in "
            f"{statistics.median(seconds[1:]):.3f} s (longest {max(seconds):.3f} s), memory {grown:.0f} MB"
        )


if __name__ == "__main__":
    main()
