"""What dynamic pruning methods share: their budget over a run, and the rows that they choose from.

A method is a `train.hooks.Sampler` that users name with `train --sampler NAME[:param=value,...] --keep B`. It
sees the losses of the visits that training makes anyway; an epoch costs these visits and O(N) arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.errors import BudgetError
from dprune_cli.core.info import MethodInfo
from dprune_cli.core.registry import Registry
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import BatchObs, Phase, RunInfo

# Batch norm cannot train on one sample.
_LEAST = 2


class EpochSampler(ABC):
    """Chooses the rows of every epoch; see `train.hooks.Sampler`.

    Subclasses are dataclasses whose fields are the parameters that users set. All that a plan depends on
    besides the epoch's generator stands in `state`, so that a run resumes exactly.

    Attributes:
        info: name, title and paper.
        needs: what it goes by, in words.
        phase: the batches that it goes by; None if it looks at none.
        needs_budget: whether `--keep` has to be given.
        rows: (M,) the rows of usable samples, ascending; set by `start`.
        sizes: (E,) rows that each epoch visits; set by `start`.
    """

    info: ClassVar[MethodInfo]
    needs: ClassVar[str] = "nothing"
    phase: Phase | None = None
    needs_budget: ClassVar[bool] = True
    state: dict[str, Tensor]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def start(self, run: RunInfo, visits: int | None) -> None:
        """See `Sampler.start`."""
        self.rows = np.flatnonzero(run.target.cpu().numpy() >= 0)
        self.sizes = self.pace(run, visits)
        self.state = self.initial(run)

    def pace(self, run: RunInfo, visits: int | None) -> NDArray[np.int64]:
        """(E,) rows to visit in every epoch, `visits` on average; `BudgetError` if that cannot be."""
        if visits is None:
            raise ValueError(f"{self.info.name} goes by a budget")
        return spread_visits(visits, run.epochs, len(self.rows), self.full_epochs(run.epochs), self.info.name)

    def full_epochs(self, epochs: int) -> Collection[int]:
        """The epochs 1 ... E that visit all samples whatever the budget."""
        return ()

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """The state before the first epoch."""
        return {}

    @abstractmethod
    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """See `Sampler.plan`; `sizes[epoch - 1]` rows."""

    def update(self, obs: BatchObs) -> None:
        """See `Sampler.update`; only of those with a `phase`."""
        raise NotImplementedError(f"{self.info.name} looks at no batches")

    def facts(self) -> dict[str, Any]:
        """See `Sampler.facts`."""
        return {}


SAMPLERS: Registry[EpochSampler] = Registry("sampler", "dprune_cli.samplers")
register = SAMPLERS.register


def spread_visits(
    visits: int, epochs: int, samples: int, full: Collection[int], name: str
) -> NDArray[np.int64]:
    """(E,) rows to visit in every epoch: all in the `full` ones, the rest evenly over the others.

    They sum to `visits` times `epochs`; where the rest does not divide evenly, earlier epochs get one more.

    Args:
        visits: samples an epoch, on average over the run.
        epochs: E.
        samples: M, all there are.
        full: epochs 1 ... E that visit all M.
        name: of the sampler, for the message.

    Raises:
        BudgetError: the full epochs alone take more, or leave too little for the others.

    >>> spread_visits(4, 5, 10, {1}, "ucb").tolist()
    [10, 3, 3, 2, 2]
    """
    left = visits * epochs - samples * len(full)
    others = epochs - len(full)
    if left < _LEAST * others and not full:
        raise BudgetError(f"{name}: batch norm needs {_LEAST} samples an epoch, not {visits}; keep more")
    if left < _LEAST * others or (others == 0 and left):
        least = Fraction(samples * len(full) + _LEAST * others, samples * epochs)
        raise BudgetError(
            f"{name} visits all {samples} samples in {len(full)} of {epochs} epochs, so on average it cannot "
            f"visit {visits} an epoch; give --keep {_up(least)} or more, more --epochs, or fewer full epochs"
        )
    sizes = np.full(epochs, samples, np.int64)
    partial = [epoch - 1 for epoch in range(1, epochs + 1) if epoch not in full]
    if partial:
        sizes[partial] = left // others
        sizes[partial[: left % others]] += 1
    return sizes


def _up(fraction: Fraction) -> str:
    """A fraction in three decimals, rounded up, so that it is enough."""
    return f"{-(-fraction * 1000 // 1) / 1000:.3f}"
