"""The rights one can have in the training loop, and the loop drawn once with each in its place.

    start recorders
    for every epoch:
        for every batch of the rows, in an order drawn from (seed, run, epoch):
            logits, loss of every sample
            coefficients = Weighter.coef(batch)         <- may weigh the samples' losses
            backward, step
            Recorder.update(batch), phase TRAIN         <- may look
        where a recorder wants it, for every batch of all rows, in eval mode:
            Recorder.update(batch), phase PROBE         <- may look
        where a recorder wants it, the same over the validation data:
            Recorder.update(batch), phase VALIDATION    <- may look
        where there is validation data:
            Weighter.end_epoch(recall of every class)
        checkpoint: everything above resumes from it exactly
    Recorder.result()

There is no event system and no shared state: whoever watches cannot change the weights, and a run has at
most one weighter.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo


class Recorder(Protocol):
    """May look, not touch.

    Attributes:
        phase: which batches it sees.
        epochs: the epochs it watches; None for all.
        fields: parts of an observation it needs beyond logits and loss.
        state: tensors by name; what a checkpoint stores.
    """

    phase: Phase
    epochs: frozenset[int] | None
    fields: frozenset[Field]
    state: dict[str, Tensor]

    def start(self, run: RunInfo) -> None:
        """Forget everything; a run of N samples begins."""

    def update(self, obs: BatchObs) -> None:
        """Look at one batch."""

    def result(self) -> Tensor:
        """What was recorded."""


class Weighter(Protocol):
    """Weighs losses: the batch loss is (coef * loss).sum(), so coef includes the mean."""

    state: dict[str, Tensor]

    def start(self, run: RunInfo) -> None:
        """A run begins."""

    def coef(self, obs: BatchObs, weight: Tensor) -> Tensor:
        """(B,) coefficients; `weight` are the samples' own factors, 1 where there are none."""

    def end_epoch(self, epoch: int, class_recall: Tensor) -> None:
        """(C,) validation recall after an epoch; NaN for a class without validation samples."""
