"""Training runs on images that are made in memory."""

from __future__ import annotations

import numpy as np
import torch
from tiny_data import SIZES, VALIDATION_SIZES, make_images, make_keys
from toy_models import dropout_net

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import Silent
from dprune_cli.data.augment import ImageViews
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.loop import Fit
from dprune_cli.train.observe import Phase, RunInfo
from dprune_cli.train.recorders import TensorRecorder

CPU = torch.device("cpu")
CLASSES = len(SIZES)
# Without augmentation, momentum and decay: what a step does can be reckoned.
PLAIN = {"flip": False, "shift": 0, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}


class MemoryImages(ImageViews):
    """`Images` over an array (N, S, S, 3)."""

    def __init__(self, pixels):
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        self.size = self.stored = pixels.shape[1]
        self.rows = np.arange(len(pixels))
        self.bad = {}
        self.device = CPU

    def get(self, rows):
        return self.pixels[rows]

    def batches(self, pieces):
        for piece in pieces:
            index = torch.tensor(piece)
            yield index, self.get(index)


class Everything(TensorRecorder):
    """Keeps every observation of one phase."""

    def __init__(self, phase=Phase.TRAIN, epochs=None, fields=frozenset()):
        self.phase, self.epochs, self.fields = phase, epochs, fields

    def start(self, run):
        self.state, self.seen = {}, []

    def update(self, obs):
        self.seen.append(obs)


def make_data(sizes=SIZES, seed=0, weight=None):
    labels, pixels = make_images(sizes, seed)
    return Labelled(MemoryImages(pixels), np.arange(len(labels)), torch.tensor(labels), weight)


def make_validation():
    return make_data(VALIDATION_SIZES, seed=1)


def make_model(factory=dropout_net, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return factory(CLASSES)


def make_info(data, epochs, seed=0):
    keys = make_keys() if len(data.target) == sum(SIZES) else [str(row) for row in range(len(data.target))]
    validated = torch.tensor(make_images(VALIDATION_SIZES, 1)[0])
    return RunInfo(
        keys,
        data.target,
        CLASSES,
        epochs,
        seed,
        validation=len(validated),
        validation_target=validated,
    )


def make_config(**settings):
    return TrainConfig(**{"epochs": 3, "batch_size": 8, "lr": 0.05, "shift": 1, **settings})


def make_fit(config=None, data=None, model=None, progress=None, **options):
    config = config or make_config()
    data = data or make_data()
    return Fit(
        model=model or make_model(),
        data=data,
        config=config,
        info=make_info(data, config.epochs, config.seed),
        progress=progress or Silent(),
        **options,
    )


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    """Whether two dictionaries of tensors are bit-equal, NaN included."""
    assert first.keys() == second.keys()
    return all(first[name].numpy().tobytes() == second[name].numpy().tobytes() for name in first)


def without_seconds(history):
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in history]
