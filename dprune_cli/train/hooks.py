"""The rights one can have in the training loop, and the loop drawn once with each in its place.

    start recorders, sampler and weighter
    for every epoch:
        rows = Sampler.plan(epoch)                      <- may choose the rows, and scale their losses
        for every batch of the rows, in an order drawn from (seed, run, epoch):
            logits, loss of every sample
            coefficients = Weighter.coef(batch)         <- may weigh the samples' losses
            backward, step
            Recorder.update(batch), phase TRAIN         <- may look
            Sampler.update(batch), phase TRAIN          <- may look
        where a recorder wants it, for every batch of all rows, in eval mode:
            Recorder.update(batch), phase PROBE         <- may look
        where a recorder wants it, the same over the validation data:
            Recorder.update(batch), phase VALIDATION    <- may look
        where there is validation data, for every batch of it, in eval mode:
            Sampler.update(batch), phase VALIDATION     <- may look
        Weighter.end_epoch(recall of every class)
        Recorder.settle(epoch)
        checkpoint: everything above resumes from it exactly
    Recorder.result()

Several processes that share a run each feed their own part of a batch to the model; everybody above sees
the whole batch, so that every process takes the same decisions.

There is no event system and no shared state: whoever watches cannot change the weights, and a run has at
most one sampler and one weighter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo


class Recorder(Protocol):
    """May look, not touch.

    Attributes:
        phase: which batches it sees.
        epochs: the epochs it watches; None for all.
        fields: parts of an observation it needs beyond logits and loss.
        everywhere: whether it looks in every process; else only in the first, which alone has a result.
        state: tensors by name; what a checkpoint stores.
    """

    phase: Phase
    epochs: frozenset[int] | None
    fields: frozenset[Field]
    everywhere: ClassVar[bool]
    state: dict[str, Tensor]

    def start(self, run: RunInfo) -> None:
        """Forget everything; a run of N samples begins."""

    def update(self, obs: BatchObs) -> None:
        """Look at one batch."""

    def settle(self, epoch: int) -> None:
        """The run may stop and go on from here: what was seen up to `epoch` stands, later things are void."""

    def result(self) -> Tensor:
        """What was recorded."""


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch visits.

    Attributes:
        rows: (V,) row numbers, each once, in any order; the loop shuffles them.
        scale: (N,) float32 factors on the losses of all rows, on the device of the run; None for 1.
    """

    rows: NDArray[np.int64]
    scale: Tensor | None = None


class Sampler(Protocol):
    """Chooses the rows that an epoch visits; it neither reads nor decodes the others.

    Attributes:
        phase: the batches that it goes by, training visits or the clean pass over validation data; None if
            it looks at none.
        state: tensors by name; with the epoch's generator all that the next plan depends on.
    """

    phase: Phase | None
    state: dict[str, Tensor]

    def start(self, run: RunInfo, visits: int | None) -> None:
        """Forget everything; a run begins that is to visit `visits` samples an epoch on average.

        Raises:
            UsageError, DataError: the run lacks what this sampler goes by.
            BudgetError: that average cannot be met.
        """

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """What epoch 1 ... E visits; asked once an epoch, in their order."""

    def update(self, obs: BatchObs) -> None:
        """Look at one batch of the phase."""

    def facts(self) -> dict[str, Any]:
        """Columns of the epoch's row in the history, after its batches; they replace the loop's own."""


class Weighter(Protocol):
    """Weighs losses: the batch loss is (coef * loss).sum(), so coef includes the mean."""

    state: dict[str, Tensor]

    def start(self, run: RunInfo) -> None:
        """A run begins."""

    def coef(self, obs: BatchObs, weight: Tensor) -> Tensor:
        """(B,) coefficients; `weight` are the samples' own factors, 1 where there are none."""

    def end_epoch(self, epoch: int, class_recall: Tensor) -> None:
        """(C,) validation recall after an epoch; NaN for a class without validation samples."""
