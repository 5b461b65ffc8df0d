"""How the query model of `dprune prune` is trained: chosen from the data and the machine."""

from __future__ import annotations

import dataclasses
import math

import torch

from dprune_cli.core.config import DataConfig, QueryConfig, TrainConfig
from dprune_cli.data.choose import choose_image_size
from dprune_cli.io.samples import Samples
from dprune_cli.stages import inputs

# Training visits in all that a query model is worth, and the fewest and most epochs: scores rank samples,
# so they do not need a model that wins, but trajectories shorter than ten epochs say little.
_VISITS = {"cpu": 600_000, "cuda": 4_000_000}
_EPOCHS = {"cpu": (10, 60), "cuda": (20, 100)}
_BATCHES = (8, 128)
# Steps of an epoch, if the samples allow it.
_STEPS = 16
# A CPU sees no more of a photo: at 224 pixels it takes ten times as long.
_CPU_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """How DATA is read and the query model is trained.

    Attributes:
        image_size: side of the images that models see; that of `reading` too.
        reading: how images are read.
        training: how models are trained.
    """

    image_size: int
    reading: DataConfig
    training: TrainConfig


def choose_settings(
    samples: Samples, query: QueryConfig, reading: DataConfig, device: torch.device
) -> Settings:
    """Everything that was not given.

    Args:
        samples: the data.
        query: what was given of the query model.
        reading: what was given of reading.
        device: where it is trained.

    Raises:
        UsageError: a value that makes no sense.
        DataError: no image can be read.
    """
    count = int(samples.ok().sum())
    size = reading.image_size
    if size is None:
        size = choose_image_size(samples)
        size = min(size, _CPU_SIZE) if device.type == "cpu" else size
    batch = choose_batch(count) if query.batch_size is None else query.batch_size
    epochs = choose_epochs(count, device.type) if query.epochs is None else query.epochs
    training = TrainConfig(
        model=query.model or inputs.model_name(TrainConfig(), device),
        device=query.device,
        epochs=epochs,
        batch_size=batch,
        lr=0.1 * batch / 128 if query.lr is None else query.lr,
        seed=query.seed,
    )
    training.check()
    return Settings(size, dataclasses.replace(reading, image_size=size), training)


def choose_batch(count: int) -> int:
    """A power of two that gives an epoch of `count` samples sixteen steps or more, between 8 and 128.

    >>> choose_batch(100), choose_batch(1000), choose_batch(50_000)
    (8, 32, 128)
    """
    least, most = _BATCHES
    return min(most, max(least, 2 ** int(math.log2(max(count // _STEPS, 1)))))


def choose_epochs(count: int, device: str) -> int:
    """Epochs for `count` samples: fewer for more samples.

    >>> choose_epochs(1000, "cpu"), choose_epochs(50_000, "cpu"), choose_epochs(50_000, "cuda")
    (60, 12, 80)
    """
    least, most = _EPOCHS[device]
    return min(most, max(least, round(_VISITS[device] / max(count, 1))))
