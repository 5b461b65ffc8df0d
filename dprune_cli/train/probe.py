"""Clean passes: eval mode, no augmentation, no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    Attributes:
        images: where the pixels come from.
        rows: row numbers that take part.
        target: (N,) class ids of all rows.
        weight: (N,) factors on the samples' losses; None for 1.
    """

    images: Images
    rows: NDArray[np.int64]
    target: Tensor
    weight: Tensor | None = None


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
    data: LabelledImages,
    *,
    epoch: int = 1,
    amp: bool = True,
    embedding: bool = False,
    batch: int = BATCH,
) -> Iterator[BatchObs]:
    """Observations of the rows of `data`, batch by batch.

    Args:
        model: on the images' device.
        data: what passes through it.
        epoch: what the observations say about when.
        amp: bfloat16 autocast on a GPU.
        embedding: also give the classifier's input.
        batch: samples at a time.
    """
    images = data.images
    target = data.target.to(images.device)
    with ExitStack() as stack:
        tap = stack.enter_context(EmbeddingTap(model)) if embedding else None
        stack.enter_context(eval_mode(model))
        for index, raw in images.batches(data.rows, batch):
            index = index.to(images.device, non_blocking=True)
            # Not around the yield: whoever consumes this would be in inference mode too, and stay there
            # if it never comes back for the next batch.
            with torch.inference_mode(), autocast(images.device, enabled=amp):
                logits = model(prepare(raw, images.size).to(memory_format=LAYOUT))
            features = tap.take().float() if tap else None
            yield observe(Phase.PROBE, epoch, index, target[index], logits, features)
