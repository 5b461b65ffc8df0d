"""RCAP: class budgets from class losses, and draws by loss within a class, anew every epoch.

Hassan, Khare, Paik, "RCAP: Robust, Class-Aware, Probabilistic Dynamic Dataset Pruning", UAI 2025, Theorem
3.1 and Eq. 5, https://proceedings.mlr.press/v286/hassan25a.html. The draws within a class are made at once
by the Gumbel top-k trick: Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them", ICML 2019,
section 2.3, https://arxiv.org/abs/1903.06059.

The authors tune beta by data set and pruning rate; their example for CIFAR-10 at keep 20 % has 0.25.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.budget import allocate
from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.allocation import loss_weights
from dprune_cli.samplers._strata import By, find_strata
from dprune_cli.samplers.base import EpochSampler, register
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import BatchObs, Phase, RunInfo

# With a smaller one rounding would swallow the chance that tells equal losses apart.
_LEAST_BETA = 1e-6


@register
@dataclass(kw_only=True)
class Rcap(EpochSampler):
    """n_j = B sqrt(p_j L_j) / sum_k sqrt(p_k L_k) of class j, drawn with probability ~ exp(loss_i / beta).

    p_j = N_j / N. L_j is the sum of the losses of the samples of class j that the last epoch visited, each
    remembered from its last visit and clipped to [0, tau]. Unvisited samples have loss tau, so the first
    epoch is proportional to class size and uniform within classes; there is no warm-up. A class that would
    get more than it has is visited whole, and the formula runs again over the others. Draws are without
    replacement. Where every L_j is 0 the budget is spread in proportion to N_j.

    As in the paper, which does not say what L_j is for a class of which nothing was visited: 0 would keep it
    out for ever, so it is the sum over all of its samples.

    Departs from the authors' code, which allocates by softmax importances instead of
    losses (so that hard classes get less), overshoots the budget where a class saturates, and rounds up.

    `class_loss` in the history is L_j: what sets the class budgets of the next epoch. With `by=group` the
    same for groups stands in `group_loss`, beside `group_visited`.

    Attributes:
        beta: temperature of the draws, in nats, at least 1e-6; small means the largest losses, large uniform.
        aggregate: L_j over the samples visited last (`subset`), or over all of the class, those not
            visited with the loss they had last (`class`).
        clip: tau; by default log C, the loss of a uniform prediction over C classes.
        by: budgets of a `class` or of a `group`.
    """

    info = MethodInfo(name="rcap", title="RCAP", paper="https://proceedings.mlr.press/v286/hassan25a.html")
    needs: ClassVar[str] = "losses of the visits"
    phase = Phase.TRAIN
    beta: float = 1.0
    aggregate: Literal["subset", "class"] = "subset"
    clip: float | None = None
    by: By = "class"

    def __post_init__(self) -> None:
        if not _LEAST_BETA <= self.beta < math.inf:
            raise UsageError(f"rcap:beta={self.beta} is no number of at least {_LEAST_BETA}")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise UsageError(f"rcap:clip={self.clip} is no number above 0")

    def prepare(self, run: RunInfo, visits: int | None) -> None:
        """See `EpochSampler.prepare`."""
        super().prepare(run, visits)
        self._strata = find_strata(run, self.by, "rcap")

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """The remembered losses (N,), clipped, and whether the last epoch visited the sample."""
        self._tau = math.log(run.classes) if self.clip is None else self.clip
        return {
            "loss": torch.full((run.samples,), self._tau, device=run.device),
            "visited": torch.ones(run.samples, dtype=torch.bool, device=run.device),
        }

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """Class budgets, then draws within each class."""
        weights = loss_weights(self._strata.sizes, self._sum_losses())
        quotas = allocate(weights, self._strata.sizes, int(self.sizes[epoch - 1]))
        loss = self.state["loss"].cpu().numpy()[self._strata.rows].astype(np.float64)
        rows = self._strata.best(loss / self.beta + rng.gumbel(size=len(loss)), quotas)
        self.state["visited"].zero_()
        self.state["visited"][torch.from_numpy(rows).to(self.state["visited"].device)] = True
        return EpochPlan(rows)

    def update(self, obs: BatchObs) -> None:
        """Remember the losses."""
        self.state["loss"][obs.index] = obs.loss.clamp(0, self._tau)

    def facts(self) -> dict[str, Any]:
        """What sets the next budgets, by class or group."""
        loss = self._sum_losses().tolist()
        if self.by == "class":
            return {"class_loss": loss}
        return {"group_loss": loss, "group_visited": self._strata.count(self._visited()).tolist()}

    def _sum_losses(self) -> NDArray[np.float64]:
        loss = self.state["loss"].cpu().numpy()
        whole = self._strata.sums(loss, self.rows)
        if self.aggregate == "class":
            return whole
        rows = self._visited()
        return np.where(self._strata.count(rows) > 0, self._strata.sums(loss, rows), whole)

    def _visited(self) -> NDArray[np.int64]:
        return self.rows[self.state["visited"].cpu().numpy()[self.rows]]
