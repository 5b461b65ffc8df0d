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

from dprune_cli.core.budget import round_half_up
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
        fewer_full: what makes fewer epochs visit everything, in words.
        rows: (M,) the rows of usable samples, ascending; set by `prepare`.
        sizes: (E,) rows that each epoch visits; set by `prepare`.
    """

    info: ClassVar[MethodInfo]
    needs: ClassVar[str] = "nothing"
    phase: Phase | None = None
    needs_budget: ClassVar[bool] = True
    fewer_full: ClassVar[str] = ""
    state: dict[str, Tensor]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def start(self, run: RunInfo, visits: int | None) -> None:
        """See `Sampler.start`."""
        self.prepare(run, visits)
        self.state = self.initial(run)

    def prepare(self, run: RunInfo, visits: int | None) -> None:
        """Find out what there is to choose from, and refuse what cannot be; takes no memory for the state.

        Called by `start`, and before that once more, when nothing was decoded yet and nothing is known of
        validation data.

        Raises:
            UsageError, DataError, BudgetError: see `Sampler.start`.
        """
        self.rows = np.flatnonzero(run.target.cpu().numpy() >= 0)
        self.sizes = self.pace(run, visits)

    def pace(self, run: RunInfo, visits: int | None) -> NDArray[np.int64]:
        """(E,) rows to visit in every epoch, `visits` on average; `BudgetError` if that cannot be."""
        if visits is None:
            raise ValueError(f"{self.info.name} goes by a budget")
        full, samples = self.full_epochs(run.epochs), len(self.rows)
        least = self.least_visits(samples)
        needed = -(-(samples * len(full) + least * (run.epochs - len(full))) // run.epochs)
        if visits < needed:
            whole = f"all {samples} samples in {len(full)} of {run.epochs} epochs and " if full else ""
            rest = "any other" if full else "every epoch"
            keep = -(-1000 * needed // samples) / 1000
            raise BudgetError(
                f"{self.info.name} visits {whole}at least {least} in {rest}, so on average it "
                f"cannot visit {visits}; give --keep {keep:.3f} or more"
                + (f", or {self.fewer_full}" if full and self.fewer_full else "")
            )
        return spread_visits(visits, run.epochs, samples, full)

    def full_epochs(self, epochs: int) -> Collection[int]:
        """The epochs 1 ... E that visit all samples whatever the budget."""
        return ()

    def least_visits(self, samples: int) -> int:
        """How few of M samples any other epoch may visit."""
        return min(_LEAST, samples)

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """The state before the first epoch."""
        return {}

    @abstractmethod
    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """See `Sampler.plan`; `sizes[epoch - 1]` rows."""

    @abstractmethod
    def update(self, obs: BatchObs) -> None:
        """See `Sampler.update`; called for batches of `phase` alone."""

    def facts(self) -> dict[str, Any]:
        """See `Sampler.facts`."""
        return {}


SAMPLERS: Registry[EpochSampler] = Registry("sampler", "dprune_cli.samplers")
register = SAMPLERS.register


def usual_period(epochs: int) -> int:
    """How many epochs of a schedule of E a choice holds where the user does not say: a twentieth, at least 1.

    >>> [usual_period(epochs) for epochs in (3, 30, 200)]
    [1, 2, 10]
    """
    return max(1, round_half_up(Fraction(epochs, 20)))


def spread_visits(visits: int, epochs: int, samples: int, full: Collection[int]) -> NDArray[np.int64]:
    """(E,) rows to visit in every epoch: all in the `full` ones, the rest evenly over the others.

    They sum to `visits` times `epochs`; where the rest does not divide evenly, earlier epochs get one more.

    Args:
        visits: samples an epoch, on average over the run; M or fewer, and enough for the full epochs.
        epochs: E.
        samples: M, all there are.
        full: epochs 1 ... E that visit all M.

    >>> spread_visits(4, 5, 10, {1}).tolist()
    [10, 3, 3, 2, 2]
    """
    sizes = np.full(epochs, samples, np.int64)
    others = [epoch - 1 for epoch in range(1, epochs + 1) if epoch not in full]
    if others:
        left = visits * epochs - samples * len(full)
        sizes[others] = left // len(others)
        sizes[others[: left % len(others)]] += 1
    return sizes
