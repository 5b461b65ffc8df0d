"""Epochs of a dynamic sampler against epochs over all of the data, with the same model in one run.

Budget: at keep 10 %, an epoch at least 9 times as fast as a full one (the ideal is 10). The two trainings
take turns; planning is part of the cost. Random images; the side makes no difference to the ratio but to how
long the benchmark takes.

    python tests/benchmarks/sampler_epoch.py [--model resnet18] [--samples 20000] [--image-size 16]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import Silent
from dprune_cli.data.augment import ImageViews
from dprune_cli.data.batch import split
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.stages import inputs
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.loop import Fit
from dprune_cli.train.observe import RunInfo

CLASSES = 10


class RandomImages(ImageViews):
    """`Images` of noise, kept where they are used."""

    def __init__(self, count: int, size: int, device: torch.device) -> None:
        self.size = self.stored = size
        self.rows = np.arange(count)
        self.bad: dict[int, str] = {}
        self.device = device
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        self._pixels = pixels.to(device)

    def get(self, rows: Tensor) -> Tensor:
        """See `Inputs.get`."""
        return self._pixels[rows.to(self.device)]

    def batches(self, rows: NDArray[np.int64], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Inputs.batches`."""
        for piece in split(rows, batch_size):
            index = torch.tensor(piece)
            yield index, self.get(index)


def main() -> None:
    """One full epoch for every few of a sampler, whose first one warms up and is not counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--sampler", nargs="*", default=["rcap", "rs2"])
    parser.add_argument(
        "--turns", type=int, default=1, help="full epochs; with a ResNet on a CPU minutes each"
    )
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Plain sampled epochs cost little, so there are more of them to take the median of.
    each = 3
    config = TrainConfig(epochs=each * given.turns + 1, model=given.model, lr=0.01)
    rng = np.random.default_rng(0)
    label = torch.from_numpy(rng.choice(CLASSES, given.samples, p=np.arange(1, 11) / 55))
    images = RandomImages(given.samples, given.image_size, device)
    keys = [str(row) for row in range(given.samples)]
    info = RunInfo(keys, label.to(device), CLASSES, config.epochs, device=device)
    data = Labelled(images, images.rows, label)
    visits = round(given.keep * given.samples)

    def start(sampler: str | None) -> Fit:
        model = inputs.make_model(config, CLASSES, given.image_size, 0, device, Silent())
        made = SAMPLERS.make(sampler) if sampler else None
        fit = Fit(model=model, data=data, config=config, info=info, progress=Silent(), sampler=made)
        if made:
            made.start(info, visits)
            fit.train_epoch(1)
        return fit

    full, sampled = start(None), {name: start(name) for name in given.sampler}
    for turn in range(given.turns):
        full.train_epoch(1 + turn)
        for fit in sampled.values():
            for epoch in range(each):
                fit.train_epoch(2 + each * turn + epoch)
    whole = statistics.median(row["seconds"] for row in full.history)
    print(f"{given.model}, {given.samples} images of {given.image_size} pixels: full epoch {whole:.2f} s")
    for name, fit in sampled.items():
        seconds = statistics.median(row["seconds"] for row in fit.history[1:])
        plan = statistics.median(row["plan_seconds"] for row in fit.history[1:])
        print(
            f"{name}: {visits} visits in {seconds:.2f} s, of which {1000 * plan:.1f} ms planning: "
            f"{whole / seconds:.2f}x as fast (budget 9x at keep 10 %)"
        )


if __name__ == "__main__":
    main()
