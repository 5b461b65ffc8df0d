"""DRoP as the run goes on: class budgets from what the model itself still gets wrong.

Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust Data Pruning", ICLR 2025, Algorithm 1,
https://arxiv.org/abs/2404.05579.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.budget import allocate
from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.allocation import (
    MissingClass,
    check_smoothing,
    complete_errors,
    drop_weights,
    error_rates,
)
from dprune_cli.samplers._strata import By, find_strata
from dprune_cli.samplers.base import EpochSampler, register
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import BatchObs, Phase, RunInfo, correct


@register
@dataclass(kw_only=True)
class Drop(EpochSampler):
    """n_k = min(N_k, lambda N_k e_k) of class k, drawn anew every epoch; e_k = 1 - recall_k on validation.

    lambda is such that the n_k sum to the budget. Recall is measured after epochs P, 2P, ... (`period`), and
    each measurement replaces the last. Until the first, all errors count as equal, so that budgets are
    proportional to class size. Draws within a class are uniform and without replacement. Classes with
    recall 1 are not visited while others have room; where every e_k is 0, budgets are proportional to N_k.

    Departs from the paper, where a model trained beforehand is measured and one subset is drawn: here it
    is the model in training, and the subset is another every epoch. The class budgets are the paper's, and
    so is the formula over groups; recalls may be smoothed, and counts are exact integers.

    What is trained on depends on the validation data, so report results on others.

    Attributes:
        period: epochs from one measurement to the next.
        smoothing: s in e_k = (errors_k + s) / (count_k + 2 s), for validation sets of few samples.
        missing_class: what to do about a class that has samples and none in validation: an `error`, or
            let it have the unweighted `mean` of the other e_k.
        by: budgets of a `class` or of a `group`; validation samples without a group that the training data
            have are left out.
    """

    info = MethodInfo(name="drop", title="DRoP", paper="https://arxiv.org/abs/2404.05579")
    needs: ClassVar[str] = "recall on validation data (--val)"
    phase = Phase.VALIDATION
    period: int = 5
    smoothing: float = 0
    missing_class: MissingClass = "error"
    by: By = "class"

    def __post_init__(self) -> None:
        if self.period < 1:
            raise UsageError(f"drop:period={self.period} is less than 1")
        check_smoothing(self.smoothing)

    def start(self, run: RunInfo, visits: int | None) -> None:
        """See `Sampler.start`.

        Raises:
            UsageError: groups are asked for, and the samples of either data have none.
            DataError: a class has samples and none in validation, or a sample has no group.
        """
        self._strata = find_strata(run, self.by, "drop")
        super().start(run, visits)
        self._quotas = np.zeros_like(self._strata.sizes)
        self._names = self._name_strata(run)
        self._validated = run.validation_target if self.by == "class" else run.validation_group
        if run.validation_target is not None:
            self._check_validation(run.validation_target)

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """Wrong predictions (S,) and samples (S,) of the last measurement, and after which epoch it was."""
        strata = len(self._strata.sizes)
        return {
            "errors": torch.zeros(strata, dtype=torch.int64, device=run.device),
            "count": torch.zeros(strata, dtype=torch.int64, device=run.device),
            # On the host, where it is compared with the epoch of every batch.
            "epoch": torch.zeros((), dtype=torch.int64),
        }

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """Class budgets, then uniform draws within each class."""
        weights = drop_weights(self._strata.sizes, self._find_errors())
        self._quotas = allocate(weights, self._strata.sizes, int(self.sizes[epoch - 1]))
        return EpochPlan(self._strata.best(rng.random(len(self.rows)), self._quotas))

    def update(self, obs: BatchObs) -> None:
        """Count the wrong predictions after every `period`-th epoch."""
        if obs.epoch % self.period:
            return
        if self._validated is None:
            raise RuntimeError("a run without validation data has shown some")
        if int(self.state["epoch"]) != obs.epoch:
            for tensor in self.state.values():
                tensor.zero_()
            self.state["epoch"].fill_(obs.epoch)
        stratum = self._validated[obs.index]
        known, place = stratum >= 0, stratum.clamp(min=0)
        self.state["count"].index_add_(0, place, known.long())
        self.state["errors"].index_add_(0, place, (known & ~correct(obs)).long())

    def facts(self) -> dict[str, Any]:
        """With groups, how many of each were visited."""
        return {} if self.by == "class" else {"group_visited": self._quotas.tolist()}

    def _find_errors(self) -> NDArray[np.float64]:
        """(S,) e_k; 1 before the first measurement."""
        if int(self.state["epoch"]) == 0:
            return np.ones(len(self._strata.sizes))
        errors, count = (self.state[name].cpu().numpy() for name in ("errors", "count"))
        return self._complete(error_rates(errors, count, self.smoothing))

    def _check_validation(self, target: Tensor) -> None:
        """Refuse validation data that cannot be measured by; hours later is too late."""
        if self._validated is None:
            raise UsageError("drop:by=group needs groups of the validation data too, and they have none")
        stratum = self._validated[(target >= 0) & (self._validated >= 0)].cpu().numpy()
        count = np.bincount(stratum, minlength=len(self._strata.sizes))
        self._complete(error_rates(np.zeros_like(count), count))

    def _complete(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        return complete_errors(self._strata.sizes, errors, self._names, self.missing_class)

    def _name_strata(self, run: RunInfo) -> list[str]:
        if self.by == "group":
            return list(run.group_names)
        return list(run.class_names) or [str(number) for number in range(run.classes)]
