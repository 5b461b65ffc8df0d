"""What samplers by the highest score share: a warm-up, and a selection that is made anew every few epochs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.errors import UsageError
from dprune_cli.metrics.ranking import Tie, choose
from dprune_cli.samplers.base import EpochSampler, usual_period
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import Phase, RunInfo


@dataclass(kw_only=True)
class TopSampler(EpochSampler):
    """Visits the samples with the highest scores; a subclass says what the score is.

    The first `warmup` epochs visit everything. The epoch after them asks `score` and chooses, and so does
    every `period`-th after it; the epochs between visit the same rows again. Sizes never rise after the
    warm-up (see `spread_visits`); where they fall by one between two selections, one of the rows, drawn
    at random, is left out from there on. Equal scores at the cut are told apart at random.

    A subclass defines `score` and `update`, adds what it remembers to `initial`, and may replace `select`.
    What `initial` puts in `state` here is `chosen`: the rows of the last selection, in random order.

    Attributes:
        period: epochs from one selection to the next; by default a twentieth of the schedule, at least 1.
        warmup: epochs at the start that visit everything; the others visit less, so that the average holds.
    """

    phase = Phase.TRAIN
    fewer_full: ClassVar[str] = "a smaller warmup"
    period: int | None = None
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.period is not None and self.period < 1:
            raise UsageError(f"{self.info.name}:period={self.period} is less than 1")
        if self.warmup < 0:
            raise UsageError(f"{self.info.name}:warmup={self.warmup} is less than 0")

    @abstractmethod
    def score(self) -> NDArray[np.float64]:
        """(N,) scores, without NaN; infinite for a sample that must come before every other."""

    def usual_period(self, epochs: int) -> int:
        """The period in a schedule of E epochs where none is given."""
        return usual_period(epochs)

    def full_epochs(self, epochs: int) -> Collection[int]:
        """The warm-up."""
        return range(1, min(self.warmup, epochs) + 1)

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """Nothing is chosen yet."""
        self._every = self.period or self.usual_period(run.epochs)
        return {"chosen": torch.empty(0, dtype=torch.int64)}

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """Everything, a new selection, or the last one again."""
        if epoch <= self.warmup:
            return EpochPlan(self.rows)
        size = int(self.sizes[epoch - 1])
        if (epoch - self.warmup - 1) % self._every == 0:
            self.state["chosen"] = torch.from_numpy(rng.permutation(self.select(size, rng)))
        return EpochPlan(self.state["chosen"].numpy()[:size])

    def select(self, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(size,) rows to visit from now on: those with the highest scores."""
        return self.rows[choose(self.score()[self.rows], size, random_ties(rng))]


def random_ties(rng: np.random.Generator) -> Tie:
    """Tells samples that tie apart at random.

    >>> sorted(random_ties(np.random.default_rng(0))(np.array([7, 8, 9])).tolist())
    [0, 1, 2]
    """
    return lambda rows: rng.permutation(len(rows)).astype(np.uint64)
