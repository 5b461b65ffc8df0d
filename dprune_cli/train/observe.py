"""What the training loop shows to those who watch: one `BatchObs` a batch, and values read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name every PyTorch reader knows


class Phase(Enum):
    """When a batch was seen."""

    TRAIN = "train"  # as visited: augmented, train mode, before the step
    PROBE = "probe"  # a clean pass in eval mode after the epoch


class Field(Enum):
    """Parts of an observation that cost extra and are made only on demand."""

    EMBEDDING = "embedding"


@dataclass(frozen=True)
class BatchObs:
    """One batch as recorders, samplers and weighters see it; every tensor is detached.

    Attributes:
        phase: train visit or clean probe.
        epoch: 1 ... E.
        index: (B,) row numbers.
        target: (B,) class ids.
        logits: (B, C) float32.
        loss: (B,) cross-entropy in nats, without label smoothing or weights.
        embedding: (B, D) input of the classifier layer, if somebody asked for it.
    """

    phase: Phase
    epoch: int
    index: Tensor
    target: Tensor
    logits: Tensor
    loss: Tensor
    embedding: Tensor | None = None


@dataclass(frozen=True)
class RunInfo:
    """What a recorder or a score may know about the run it belongs to.

    Attributes:
        keys: (N,) sample keys.
        target: (N,) class ids, -1 for samples that cannot be used.
        classes: C.
        epochs: E, the length of the schedule.
        seed: the user's `--seed`.
        device: where recorders keep their state.
    """

    keys: Sequence[str]
    target: Tensor
    classes: int
    epochs: int
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def samples(self) -> int:
        """N."""
        return len(self.keys)


def observe(
    phase: Phase, epoch: int, index: Tensor, target: Tensor, logits: Tensor, embedding: Tensor | None = None
) -> BatchObs:
    """A `BatchObs` with its loss computed from the logits."""
    logits = logits.detach().float()
    loss = F.cross_entropy(logits, target, reduction="none")
    return BatchObs(phase, epoch, index, target, logits, loss, embedding)


def correct(obs: BatchObs) -> Tensor:
    """(B,) bool: the largest logit is the label's."""
    return obs.logits.argmax(1) == obs.target


def target_probability(obs: BatchObs) -> Tensor:
    """(B,) softmax probability of the label, in [0, 1]."""
    return obs.logits.softmax(1).gather(1, obs.target[:, None]).squeeze(1)


def margin(obs: BatchObs) -> Tensor:
    """(B,) logit of the label minus the largest other logit.

    >>> logits = torch.tensor([[2.0, 5.0, 1.0]])
    >>> margin(observe(Phase.TRAIN, 1, torch.tensor([0]), torch.tensor([0]), logits)).item()
    -3.0
    """
    own = obs.logits.gather(1, obs.target[:, None])
    others = obs.logits.scatter(1, obs.target[:, None], float("-inf"))
    return (own - others.amax(1, keepdim=True)).squeeze(1)
