"""UCB: the largest upper confidence bounds of the loss.

Raju, Daruwalla, Lipasti, "Accelerating Deep Learning with Dynamic Data Pruning", 2021,
https://arxiv.org/abs/2111.12621. The paper's own text was not at hand: the formula and the defaults
are those of a third-party implementation, https://github.com/sodabori/dataset_pruning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.samplers._top import TopSampler
from dprune_cli.samplers.base import register
from dprune_cli.train.observe import BatchObs, RunInfo


@register
@dataclass(kw_only=True)
class Ucb(TopSampler):
    """The top K by mean_i + c var_i; var <- (1 - a) var + a (loss - mean)^2, mean <- (1 - a) mean + a loss.

    K is what an epoch visits, a is `alpha`; the variance goes by the mean before the visit. The selection is
    made anew every `period` epochs. A sample that was never visited comes before every visited one; its
    first loss becomes the mean, with variance 0.

    Departs from the third-party implementation: there mean and variance begin at 0, so that samples which
    were not visited yet are never preferred, and the averages need clean passes, where here they run over
    the visits that training makes.

    The first selection of a run without `warmup` is a random one, as no loss is known, and the next ones
    visit what was not visited yet before anything else: with keep fraction 0.1 losses begin to count in the
    eleventh selection. Where that is too late give a warm-up or a shorter period.

    Attributes:
        period: epochs from one selection to the next; by default a twentieth of the schedule, at least 1
            (the third-party implementation: 10).
        warmup: epochs at the start that visit everything; the others visit less, so that the average holds.
        alpha: weight of the new loss, in (0, 1].
        c: weight of the variance, at least 0, in 1 / nat.
    """

    info = MethodInfo(name="ucb", title="Upper confidence bound", paper="https://arxiv.org/abs/2111.12621")
    needs: ClassVar[str] = "losses of the visits"
    alpha: float = 0.8
    c: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise UsageError(f"ucb:alpha={self.alpha} is not above 0 and at most 1")
        if not 0 <= self.c < math.inf:
            raise UsageError(f"ucb:c={self.c} is no number from 0 up")

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """(N,) means, infinite before any visit, and (N,) variances."""
        return {
            **super().initial(run),
            "mean": torch.full((run.samples,), math.inf, device=run.device),
            "var": torch.zeros(run.samples, device=run.device),
        }

    def update(self, obs: BatchObs) -> None:
        """Take the new losses into variance and mean."""
        mean, var = self.state["mean"][obs.index], self.state["var"][obs.index]
        mean = torch.where(mean.isinf(), obs.loss, mean)
        gap = obs.loss - mean
        self.state["var"][obs.index] = (1 - self.alpha) * var + self.alpha * gap.square()
        self.state["mean"][obs.index] = mean + self.alpha * gap

    def score(self) -> NDArray[np.float64]:
        """(N,) the upper bounds, infinite for a sample that was never visited."""
        mean, var = (self.state[name].cpu().numpy().astype(np.float64) for name in ("mean", "var"))
        return mean + self.c * var
