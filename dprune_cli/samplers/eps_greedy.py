"""Epsilon-greedy: the largest smoothed losses, and a random share of the rest.

Raju, Daruwalla, Lipasti, "Accelerating Deep Learning with Dynamic Data Pruning", 2021,
https://arxiv.org/abs/2111.12621. The paper's own text was not at hand: the formula and the defaults
are those of a third-party implementation, https://github.com/sodabori/dataset_pruning.
"""

from __future__ import annotations

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
from dprune_cli.samplers._top import TopSampler
from dprune_cli.samplers.base import register
from dprune_cli.train.observe import BatchObs, RunInfo


@register
@dataclass(kw_only=True)
class EpsGreedy(TopSampler):
    """The top (1 - eps) K by s_i <- (1 - alpha) s_i + alpha loss_i, from s_i = 1, and eps K of the others.

    K is what an epoch visits. Every `period` epochs eps K of them, rounded half up, are drawn at random from
    those that are not among the K - eps K highest scores; the epochs between visit the same samples again.

    Departs from the third-party implementation: the averages run over the visits that training makes,
    where that one needs clean passes, and shares are rounded, not cut off.

    The first selection of a run without `warmup` is a random one, as no loss is known. So a run of no more
    than `period` epochs visits one random subset throughout. A sample that was never visited scores 1, like
    one whose loss stays at 1 nat.

    Attributes:
        period: epochs from one selection to the next; by default a twentieth of the schedule, at least 1
            (the third-party implementation: 10).
        warmup: epochs at the start that visit everything; the others visit less, so that the average holds.
        alpha: weight of the new loss, in (0, 1].
        eps: random share of a selection, in [0, 1].
    """

    info = MethodInfo(name="eps_greedy", title="Epsilon-greedy", paper="https://arxiv.org/abs/2111.12621")
    needs: ClassVar[str] = "losses of the visits"
    alpha: float = 0.8
    eps: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise UsageError(f"eps_greedy:alpha={self.alpha} is not above 0 and at most 1")
        if not 0 <= self.eps <= 1:
            raise UsageError(f"eps_greedy:eps={self.eps} is not between 0 and 1")

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """(N,) smoothed losses, 1 before any visit."""
        return {**super().initial(run), "average": torch.ones(run.samples, device=run.device)}

    def update(self, obs: BatchObs) -> None:
        """Take the new losses into the averages."""
        old = self.state["average"][obs.index]
        self.state["average"][obs.index] = (1 - self.alpha) * old + self.alpha * obs.loss

    def score(self) -> NDArray[np.float64]:
        """(N,) the smoothed losses."""
        return self.state["average"].cpu().numpy().astype(np.float64)

    def select(self, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """The highest scores, then some of the others."""
        drawn = round_half_up(Fraction(repr(self.eps)) * size)
        greedy = super().select(size - drawn, rng)
        others = np.setdiff1d(self.rows, greedy, assume_unique=True)
        return np.concatenate([greedy, rng.choice(others, drawn, replace=False, shuffle=False)])
