"""InfoBatch: leave out a share of the samples with low losses, and weigh the others of them up.

Qin et al., "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning", ICLR 2024,
https://arxiv.org/abs/2303.04947
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.budget import round_half_up
from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.ranking import choose
from dprune_cli.samplers._top import random_ties
from dprune_cli.samplers.base import EpochSampler, register
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import BatchObs, Phase, RunInfo

# As in the authors' library, at least a tenth of the low samples stays, so no weight is above 10.
_MOST = Fraction(9, 10)
_USUAL = 0.5


@register
@dataclass(kw_only=True)
class Infobatch(EpochSampler):
    """Of the samples with a loss below the mean, a share r is left out at random, the rest weigh 1 / (1 - r).

    So the expected gradient of an epoch is that of all samples. Epochs t <= floor(delta E) prune, those
    after them visit everything with weight 1. The first epoch visits everything too, as no loss is known.
    A loss is that of the last visit; samples that were left out keep the one they had.

    Departs from the paper, which leaves out each low sample with probability r: here exactly r L of the L
    low samples go, rounded half up, but never all. Those that stay weigh L over their number, which is
    1 / (1 - r) but for that rounding, so that the weights of an epoch sum to N.

    Without `--keep` the number of visits is an outcome. With it, which the paper does not have, the run
    visits exactly as many samples as asked for: the epochs that visit everything come first in the budget,
    the others share the rest evenly, and r follows anew in each. It is at most 0.9; where fewer samples
    are low than that takes, those with the next higher losses count as low too, which is as unbiased. But
    weights of up to 10 make gradients noisy: a small budget is far from what the paper calls lossless.

    Attributes:
        r: share of the low samples that is left out, in [0, 1); 0.5 if neither it nor `--keep` is given.
        delta: share of the epochs that prune, in (0, 1].
    """

    info = MethodInfo(name="infobatch", title="InfoBatch", paper="https://arxiv.org/abs/2303.04947")
    needs: ClassVar[str] = "losses of the visits"
    phase = Phase.TRAIN
    needs_budget: ClassVar[bool] = False
    fewer_full: ClassVar[str] = "a larger delta"
    r: float | None = None
    delta: float = 0.875

    def __post_init__(self) -> None:
        if self.r is not None and not 0 <= self.r < 1:
            raise UsageError(f"infobatch:r={self.r} is not at least 0 and below 1")
        if not 0 < self.delta <= 1:
            raise UsageError(f"infobatch:delta={self.delta} is not above 0 and at most 1")

    def prepare(self, run: RunInfo, visits: int | None) -> None:
        """See `EpochSampler.prepare`."""
        super().prepare(run, visits)
        self._full = frozenset(self.full_epochs(run.epochs))
        self._budgeted = visits is not None

    def pace(self, run: RunInfo, visits: int | None) -> NDArray[np.int64]:
        """(E,) rows to visit in every epoch; without a budget the most that there can be.

        Raises:
            UsageError: both a budget and r.
            BudgetError: an epoch would have to leave out more than 0.9 of all samples.
        """
        if visits is None:
            return np.full(run.epochs, len(self.rows), np.int64)
        if self.r is not None:
            raise UsageError(f"infobatch:r={self.r} does not go with --keep, which sets r; give one of them")
        return super().pace(run, visits)

    def full_epochs(self, epochs: int) -> Collection[int]:
        """The first epoch and those after the last that prunes."""
        pruning = math.floor(Fraction(repr(self.delta)) * epochs)
        return {1, *range(pruning + 1, epochs + 1)}

    def least_visits(self, samples: int) -> int:
        """What is left when 0.9 of all samples are left out."""
        return max(super().least_visits(samples), math.ceil((1 - _MOST) * samples))

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """(N,) last losses, infinite before any visit, so that they are never low."""
        return {"loss": torch.full((run.samples,), math.inf, device=run.device)}

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """Everything, or what is left after pruning with its weights; `sizes[epoch - 1]` with a budget."""
        if epoch in self._full:
            return EpochPlan(self.rows)
        # Means of up to 2^29 equal float32 losses are exact in float64: none of them is below the mean.
        loss = self.state["loss"].cpu().numpy()[self.rows].astype(np.float64)
        low = np.flatnonzero(loss < loss.mean())
        count = self._prune_count(epoch, len(low))
        if count == 0:
            return EpochPlan(self.rows)
        wide = math.ceil(count / _MOST)
        if self._budgeted and len(low) < wide:
            low = choose(loss, wide, random_ties(rng), "low")
        low = rng.permutation(low)
        return EpochPlan(np.delete(self.rows, low[:count]), self._weigh(self.rows[low[count:]], len(low)))

    def update(self, obs: BatchObs) -> None:
        """Remember the losses."""
        self.state["loss"][obs.index] = obs.loss

    def _prune_count(self, epoch: int, low: int) -> int:
        if self._budgeted:
            return len(self.rows) - int(self.sizes[epoch - 1])
        share = Fraction(repr(_USUAL if self.r is None else self.r))
        return min(round_half_up(share * low), max(low - 1, 0))

    def _weigh(self, left: NDArray[np.int64], low: int) -> Tensor:
        """(N,) weights: `left` of the low samples stand for all of them."""
        scale = torch.ones_like(self.state["loss"])
        scale[torch.from_numpy(left).to(scale.device)] = low / len(left)
        return scale
