"""What the training loop shows to those who watch: one `BatchObs` a batch, and values read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from dprune_cli.train.losses import sample_loss


class Phase(Enum):
    """When a batch was seen."""

    TRAIN = "train"  # as visited: augmented, train mode, before the step
    PROBE = "probe"  # a clean pass in eval mode after the epoch
    VALIDATION = "validation"  # the same over the validation data, whose rows are counted apart


class Field(Enum):
    """Parts of an observation that are made only on demand, or that a recording may lack."""

    LOGITS = "logits"  # always there in training; features of another model may come without
    EMBEDDING = "embedding"
    GRAD_NORM = "grad_norm"  # in clean passes only


@dataclass(frozen=True)
class BatchObs:
    """One batch as recorders, samplers and weighters see it; every tensor is detached.

    Attributes:
        phase: train visit, or clean pass over training or validation data.
        epoch: 1 ... E.
        index: (B,) row numbers.
        target: (B,) class ids.
        logits: (B, C) float32.
        loss: (B,) cross-entropy in nats, without label smoothing or weights.
        embedding: (B, D) input of the classifier layer, if somebody asked for it.
        grad_norm: (B,) norm of the loss's gradient in all trainable parameters, if somebody asked for it.
    """

    phase: Phase
    epoch: int
    index: Tensor
    target: Tensor
    logits: Tensor
    loss: Tensor
    embedding: Tensor | None = None
    grad_norm: Tensor | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.index)


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
        validation: samples of validation data, 0 where there is none.
        class_names: names by id, for messages; may be empty.
        group: (N,) group ids, -1 where unknown; None without groups.
        group_names: names by id.
        validation_target, validation_group: the same as `target` and `group`, of the validation data.
    """

    keys: Sequence[str]
    target: Tensor
    classes: int
    epochs: int
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    validation: int = 0
    class_names: Sequence[str] = ()
    group: Tensor | None = None
    group_names: Sequence[str] = ()
    validation_target: Tensor | None = None
    validation_group: Tensor | None = None

    @property
    def samples(self) -> int:
        """N."""
        return len(self.keys)

    def class_name(self, number: int) -> str:
        """The class as users know it; its id where it has no name."""
        return repr(self.class_names[number]) if self.class_names else str(number)


def observe(
    phase: Phase,
    epoch: int,
    index: Tensor,
    target: Tensor,
    logits: Tensor,
    embedding: Tensor | None = None,
    grad_norm: Tensor | None = None,
) -> BatchObs:
    """A `BatchObs` with its loss computed from the logits."""
    logits = logits.detach().float()
    loss = sample_loss(logits, target)
    return BatchObs(phase, epoch, index, target, logits, loss, embedding, grad_norm)


def logits_of(obs: BatchObs) -> Tensor:
    """(B, C) the logits."""
    return obs.logits


def target_of(obs: BatchObs) -> Tensor:
    """(B,) the class ids."""
    return obs.target


def embedding_of(obs: BatchObs) -> Tensor:
    """(B, D) the embeddings; whoever calls this asks for `Field.EMBEDDING`."""
    if obs.embedding is None:
        raise RuntimeError("there is no embedding in this observation; ask for Field.EMBEDDING")
    return obs.embedding


def grad_norm_of(obs: BatchObs) -> Tensor:
    """(B,) the gradient norms; whoever calls this asks for `Field.GRAD_NORM`."""
    if obs.grad_norm is None:
        raise RuntimeError("there is no gradient norm in this observation; ask for Field.GRAD_NORM")
    return obs.grad_norm


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
