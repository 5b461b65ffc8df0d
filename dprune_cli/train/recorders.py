"""Recorders that scores share. Each keeps O(N) numbers a sample, never epochs x samples x classes.

Two recorders with equal settings are equal, so that one run feeds every score that asks for the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, correct


class TensorRecorder:
    """A recorder whose whole state is a dictionary of tensors, so a checkpoint can hold it."""

    fields: frozenset[Field] = frozenset({Field.LOGITS})
    everywhere: ClassVar[bool] = False
    state: dict[str, Tensor]

    def start(self, run: RunInfo) -> None:
        """Allocate the state for N samples."""
        self.state = self.initial(run)

    def settle(self, epoch: int) -> None:
        """Nothing to do: the checkpoint has the state."""

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """The state before the first batch; none for recorders to which that batch tells its shape."""
        return {}


@dataclass(unsafe_hash=True)
class VisitMean(TensorRecorder):
    """(N,) mean of a value over all visits that are watched; NaN for samples never visited."""

    value: Callable[[BatchObs], Tensor]
    phase: Phase = Phase.TRAIN
    epochs: frozenset[int] | None = None
    fields: frozenset[Field] = frozenset({Field.LOGITS})

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """Sum and number of visits."""
        return {
            "sum": torch.zeros(run.samples, dtype=torch.float64, device=run.device),
            "visits": torch.zeros(run.samples, dtype=torch.int32, device=run.device),
        }

    def update(self, obs: BatchObs) -> None:
        """Add one value a sample."""
        self.state["sum"][obs.index] += self.value(obs).double()
        self.state["visits"][obs.index] += 1

    def result(self) -> Tensor:
        """The means."""
        return self.state["sum"] / self.state["visits"]


@dataclass(unsafe_hash=True)
class ByRow(TensorRecorder):
    """(N,) or (N, W): a number or vector of every sample at its last visit; NaN where it was never visited.

    In the phase `VALIDATION` N counts the validation samples. How wide W is shows in the first batch.
    """

    value: Callable[[BatchObs], Tensor]
    phase: Phase = Phase.TRAIN
    epochs: frozenset[int] | None = None
    fields: frozenset[Field] = frozenset({Field.LOGITS})

    def start(self, run: RunInfo) -> None:
        """Nothing is allocated before the width is known."""
        super().start(run)
        self._rows = run.validation if self.phase is Phase.VALIDATION else run.samples

    def update(self, obs: BatchObs) -> None:
        """Keep the batch's values."""
        values = self.value(obs).float()
        if "values" not in self.state:
            shape = (self._rows, *values.shape[1:])
            self.state["values"] = torch.full(shape, float("nan"), device=values.device)
        self.state["values"][obs.index] = values

    def result(self) -> Tensor:
        """The values, float32."""
        return self.state["values"]


@dataclass(unsafe_hash=True)
class Transitions(TensorRecorder):
    """(2, N): how often a sample went from correct to wrong, and whether it ever was correct (-1: unseen)."""

    phase: Phase = Phase.TRAIN
    epochs: frozenset[int] | None = None

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """Counts, last outcome, and whether it was ever correct."""
        empty = torch.zeros(run.samples, dtype=torch.int32, device=run.device)
        return {"forgotten": empty, "was_correct": empty.bool(), "learned": empty - 1}

    def update(self, obs: BatchObs) -> None:
        """Compare with the previous visit."""
        now = correct(obs)
        self.state["forgotten"][obs.index] += (self.state["was_correct"][obs.index] & ~now).int()
        self.state["learned"][obs.index] = torch.maximum(self.state["learned"][obs.index], now.int())
        self.state["was_correct"][obs.index] = now

    def result(self) -> Tensor:
        """Forgetting events and the learned flag."""
        return torch.stack([self.state["forgotten"], self.state["learned"]])


@dataclass(unsafe_hash=True)
class WindowStd(TensorRecorder):
    """(N,) mean over all windows of J consecutive visits of the unbiased standard deviation of a value.

    Holds the last J values of every sample. A sample visited fewer than J times has NaN.
    """

    value: Callable[[BatchObs], Tensor]
    window: int
    phase: Phase = Phase.TRAIN
    epochs: frozenset[int] | None = None

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """Ring buffer (J, N), visits, and the sum over windows."""
        return {
            "ring": torch.zeros(self.window, run.samples, device=run.device),
            "visits": torch.zeros(run.samples, dtype=torch.int64, device=run.device),
            "sum": torch.zeros(run.samples, dtype=torch.float64, device=run.device),
        }

    def update(self, obs: BatchObs) -> None:
        """Replace the oldest value; add the window that ends here once it is full."""
        ring, visits, total = self.state["ring"], self.state["visits"], self.state["sum"]
        ring[visits[obs.index] % self.window, obs.index] = self.value(obs)
        visits[obs.index] += 1
        full = obs.index[visits[obs.index] >= self.window]
        if len(full):
            total[full] += ring[:, full].double().std(0)

    def result(self) -> Tensor:
        """The mean over windows."""
        windows = self.state["visits"] - self.window + 1
        return torch.where(windows > 0, self.state["sum"] / windows, float("nan"))


@dataclass(unsafe_hash=True)
class VisitLog(TensorRecorder):
    """(3, N): visits, last and mean training loss of every sample; the losses are NaN without a visit."""

    phase: Phase = Phase.TRAIN
    epochs: frozenset[int] | None = None

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """No visits, no loss."""
        return {
            "visits": torch.zeros(run.samples, dtype=torch.int64, device=run.device),
            "loss": torch.full((run.samples,), float("nan"), device=run.device),
            "sum": torch.zeros(run.samples, dtype=torch.float64, device=run.device),
        }

    def update(self, obs: BatchObs) -> None:
        """Count the visit, remember its loss and add it to those before."""
        self.state["visits"][obs.index] += 1
        self.state["loss"][obs.index] = obs.loss
        self.state["sum"][obs.index] += obs.loss.double()

    def result(self) -> Tensor:
        """Visits, last losses and mean losses, as float64."""
        visits, last = self.state["visits"].double(), self.state["loss"].double()
        return torch.stack([visits, last, self.state["sum"] / visits])
