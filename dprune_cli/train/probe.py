"""Clean passes: eval mode, no augmentation, and no gradient but where somebody asks for its norm."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dprune_cli.data.augment import prepare
from dprune_cli.data.batch import Images
from dprune_cli.models.head import EmbeddingTap
from dprune_cli.train.observe import BatchObs, Field, Phase, correct, observe
from dprune_cli.train.per_sample_grad import GradNorms

# Convolutions are faster with channels last, by a third for small models on a CPU and more on a GPU.
LAYOUT = torch.channels_last
# A clean pass keeps no activations, so it can take larger batches than training.
BATCH = 512
# Memory for activations and gradients where norms of gradients are asked for.
GRAD_MEMORY = 2 * 10**9


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
    phase: Phase = Phase.PROBE,
    epoch: int = 1,
    amp: bool = True,
    fields: Collection[Field] = (),
    batch: int = BATCH,
    grad_memory: int = GRAD_MEMORY,
) -> Iterator[BatchObs]:
    """Observations of the rows of `data`, batch by batch.

    Args:
        model: on the images' device.
        data: what passes through it.
        phase: clean pass over training or validation data.
        epoch: what the observations say about when.
        amp: bfloat16 autocast on a GPU; never for gradients.
        fields: what the observations are to hold besides logits and loss.
        batch: samples at a time.
        grad_memory: bytes that gradients may take.
    """
    if {Field.GRAD_NORM, Field.EMBEDDING} <= set(fields):
        raise ValueError("gradients come a few samples at a time, embeddings a batch at a time")
    images = data.images
    target = data.target.to(images.device)
    with ExitStack() as stack:
        norms = GradNorms(model, grad_memory) if Field.GRAD_NORM in fields else None
        tap = stack.enter_context(EmbeddingTap(model)) if Field.EMBEDDING in fields else None
        stack.enter_context(eval_mode(model))
        for index, raw in images.batches(data.rows, batch):
            index = index.to(images.device, non_blocking=True)
            grad_norm = None
            if norms is not None:
                pixels = prepare(raw, images.size).to(memory_format=LAYOUT)
                logits, grad_norm = norms(pixels, target[index])
            else:
                # Not around the yield: whoever consumes this would be in inference mode too, and stay
                # there if it never comes back for the next batch.
                with torch.inference_mode(), autocast(images.device, enabled=amp):
                    logits = model(prepare(raw, images.size).to(memory_format=LAYOUT))
            features = tap.take().float() if tap else None
            yield observe(phase, epoch, index, target[index], logits, features, grad_norm)


def count_correct(passes: Iterable[BatchObs], classes: int) -> tuple[Tensor, Tensor]:
    """(C,) samples of every class, and how many of them have the right prediction; float64."""
    count = right = torch.zeros(classes, dtype=torch.float64)
    for obs in passes:
        count = count.to(obs.target.device) + torch.bincount(obs.target, minlength=classes)
        right = right.to(obs.target.device) + torch.bincount(obs.target[correct(obs)], minlength=classes)
    return count, right
