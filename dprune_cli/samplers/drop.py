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
from dprune_cli.samplers.base import EpochSampler, register, usual_period
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

    `class_error` in the history (with `by=group` `group_error`) is what set the budgets of that epoch.

    What is trained on depends on the validation data, so report results on others.

    Attributes:
        period: epochs from one measurement to the next; by default a twentieth of the schedule, at least 1.
        smoothing: s in e_k = (errors_k + s) / (count_k + 2 s), for validation sets of few samples.
        missing_class: what to do about a class that has samples and none in validation: an `error`, or
            let it have the unweighted `mean` of the other e_k.
        by: budgets of a `class` or of a `group`; validation samples without a group that the training data
            have are left out.
    """

    info = MethodInfo(name="drop", title="DRoP", paper="https://arxiv.org/abs/2404.05579")
    needs: ClassVar[str] = "recall on validation data (--val)"
    phase = Phase.VALIDATION
    period: int | None = None
    smoothing: float = 0
    missing_class: MissingClass = "error"
    by: By = "class"

    def __post_init__(self) -> None:
        if self.period is not None and self.period < 1:
            raise UsageError(f"drop:period={self.period} is less than 1")
        check_smoothing(self.smoothing)

    def prepare(self, run: RunInfo, visits: int | None) -> None:
        """See `EpochSampler.prepare`.

        Raises:
            UsageError: the run is over before a measurement counts, or groups are asked for, and the
                samples of either data have none.
            DataError: a class has samples and none in validation, or a sample has no group.
        """
        super().prepare(run, visits)
        self._every = self.period or usual_period(run.epochs)
        if self.period and self.period >= run.epochs > 1:
            raise UsageError(
                f"drop:period={self.period} measures nothing that one of {run.epochs} epochs could go by; "
                "give a smaller period, or more --epochs"
            )
        self._strata = find_strata(run, self.by, "drop")
        self._errors = np.full(len(self._strata.sizes), np.nan)
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
        self._errors = self._find_errors()
        weights = drop_weights(self._strata.sizes, self._errors)
        self._quotas = allocate(weights, self._strata.sizes, int(self.sizes[epoch - 1]))
        return EpochPlan(self._strata.best(rng.random(len(self.rows)), self._quotas))

    def update(self, obs: BatchObs) -> None:
        """Count the wrong predictions after every `period`-th epoch."""
        if obs.epoch % self._every:
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
        """The e_k that set the budgets of this epoch; with groups, also how many of each were visited."""
        errors = {f"{self.by}_error": self._errors.tolist()}
        return errors if self.by == "class" else {**errors, "group_visited": self._quotas.tolist()}

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
