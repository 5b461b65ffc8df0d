"""Clean passes: eval mode, no augmentation, and no gradient but where somebody asks for its norm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from dprune_cli.models.head import EmbeddingTap
from dprune_cli.models.modes import eval_mode
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.observe import BatchObs, Field, Phase, correct, observe
from dprune_cli.train.per_sample_grad import GradNorms

# A clean pass keeps no activations, so it can take larger batches than training.
BATCH = 512
# Memory for activations and gradients where norms of gradients are asked for.
GRAD_MEMORY = 2 * 10**9


def autocast(device: torch.device, *, enabled: bool) -> torch.autocast:
    """bfloat16 autocast on GPUs, nothing on CPUs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and device.type == "cuda")


def probe(
    model: nn.Module,
    data: Labelled,
    *,
    phase: Phase = Phase.PROBE,
    epoch: int = 1,
    amp: bool = True,
    fields: Collection[Field] = (),
    batch: int = BATCH,
    grad_memory: int = GRAD_MEMORY,
) -> Iterator[BatchObs]:
    """Observations of the rows of `data`, batch by batch; several processes pass over their own together.

    Args:
        model: on the inputs' device.
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
    inputs = data.inputs
    target = data.target.to(inputs.device)
    with ExitStack() as stack:
        norms = GradNorms(model, grad_memory) if Field.GRAD_NORM in fields else None
        tap = stack.enter_context(EmbeddingTap(model)) if Field.EMBEDDING in fields else None
        stack.enter_context(eval_mode(model))
        pieces = data.clean_batches(batch)
        for piece, (own, stored) in zip(pieces, inputs.batches([piece.own for piece in pieces]), strict=True):
            index = torch.from_numpy(piece.rows).to(inputs.device, non_blocking=True)
            grad_norm = None
            if norms is not None:
                logits, grad_norm = norms(inputs.clean(stored), target[own.to(inputs.device)])
                grad_norm = data.gather(grad_norm, piece)
            else:
                # Not around the yield: whoever consumes this would be in inference mode too, and stay
                # there if it never comes back for the next batch.
                with torch.inference_mode(), autocast(inputs.device, enabled=amp):
                    logits = model(inputs.clean(stored))
            features = data.gather(tap.take().float(), piece) if tap else None
            seen = data.gather(logits.float(), piece)
            yield observe(phase, epoch, index, target[index], seen, features, grad_norm)


def count_correct(
    passes: Iterable[BatchObs], classes: int, show: Callable[[BatchObs], None] | None = None
) -> tuple[Tensor, Tensor]:
    """(C,) samples of every class, and how many of them have the right prediction; float64.

    `show` is called with every observation.
    """
    count = right = torch.zeros(classes, dtype=torch.float64)
    for obs in passes:
        if show is not None:
            show(obs)
        # On the device, without waiting for it.
        count, right = count.to(obs.target.device), right.to(obs.target.device)
        count = count.index_add(0, obs.target, torch.ones_like(obs.target, dtype=count.dtype))
        right = right.index_add(0, obs.target, correct(obs).to(right.dtype))
    return count, right
