"""Clean passes: eval mode, no augmentation, no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dprune_cli.data.augment import prepare
from dprune_cli.data.batch import Images
from dprune_cli.models.head import EmbeddingTap
from dprune_cli.train.observe import BatchObs, Phase, observe

# Convolutions are faster with channels last, by a third for small models on a CPU and more on a GPU.
LAYOUT = torch.channels_last
# A clean pass keeps no activations, so it can take larger batches than training.
BATCH = 512


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and afterwards as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def autocast(device: torch.device, *, enabled: bool) -> torch.autocast:
    """bfloat16 autocast on GPUs, nothing on CPUs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and device.type == "cuda")


def probe(
    model: nn.Module,
    images: Images,
    rows: NDArray[np.int64],
    target: Tensor,
    *,
    epoch: int,
    amp: bool,
    embedding: bool = False,
    batch: int = BATCH,
) -> Iterator[BatchObs]:
    """Observations of `rows`, batch by batch, in the order given.

    Args:
        model: on the images' device.
        images: where the pixels come from.
        rows: row numbers to pass through.
        target: (N,) class ids of all rows, on the images' device.
        epoch: what the observations say about when.
        amp: bfloat16 autocast on a GPU.
        embedding: also give the classifier's input.
        batch: samples at a time.
    """
    device = images.device
    with ExitStack() as stack:
        tap = stack.enter_context(EmbeddingTap(model)) if embedding else None
        with eval_mode(model), torch.inference_mode():
            for index, raw in images.batches(rows, batch):
                index = index.to(device, non_blocking=True)
                pixels = prepare(raw, images.size).to(memory_format=LAYOUT)
                with autocast(device, enabled=amp):
                    logits = model(pixels)
                features = tap.take().float() if tap else None
                yield observe(Phase.PROBE, epoch, index, target[index], logits, features)
