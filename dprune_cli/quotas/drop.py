"""DRoP: keep more of the classes that a preliminary model gets wrong.

Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust Data Pruning", ICLR 2025, Algorithm 1,
https://arxiv.org/abs/2404.05579.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.allocation import drop_weights
from dprune_cli.quotas.base import QuotaInput, QuotaRule, mean_errors, name_some, register


@register
@dataclass(frozen=True, kw_only=True)
class Drop(QuotaRule):
    """Densities d_k = min(1, lambda * e_k) with e_k = 1 - recall_k on validation, so w_k = N_k * e_k.

    As in the paper, whose loop is this closed form. (The authors' code makes the sizes n_k proportional
    to e_k instead, which differs where classes are unequal.) Departs from the paper: where it would
    divide by zero, because every class that has room has recall 1, the rest is spread in proportion to
    N_k, with a warning; recalls may be smoothed; several validation tables are averaged; counts are
    exact integers. Over groups the formula is the same, as in the paper's Waterbirds experiment.

    Attributes:
        smoothing: s in e_k = (errors_k + s) / (count_k + 2 s), for validation sets of few samples.
        missing_class: what to do about a class that has samples to prune and none in validation: an
            `error`, or let it have the unweighted `mean` of the other e_k.
    """

    info = MethodInfo(name="drop", title="DRoP", paper="https://arxiv.org/abs/2404.05579")
    needs: ClassVar[str] = "predictions of validation data (--val)"
    smoothing: float = 0
    missing_class: Literal["error", "mean"] = "error"

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < math.inf:
            raise UsageError(f"drop:smoothing={self.smoothing} is not a number of at least 0")

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) N_k * e_k; 0 for a stratum without candidates, whose recall does not matter."""
        if not given.validation:
            raise UsageError(
                "drop goes by recalls on validation data: run `dprune evaluate RUN VAL -o val.parquet`"
                " and give --val val.parquet"
            )
        errors = mean_errors(given.validation, self.smoothing)
        absent = self._absent(given)
        if absent.any() and (self.missing_class == "error" or np.isnan(errors).all()):
            raise DataError(
                f"validation has no sample of {name_some(absent, given.names)}; add some, or give"
                " drop:missing_class=mean to assume the mean error of the other classes"
            )
        if absent.any():
            errors[absent] = errors[~np.isnan(errors)].mean()
        return drop_weights(given.available, errors)

    def warnings(self, given: QuotaInput) -> list[str]:
        """Names the classes whose recall was assumed."""
        absent = self._absent(given)
        if not absent.any():
            return []
        return [
            f"validation has no sample of {name_some(absent, given.names)}; took the mean error of the others"
        ]

    def _absent(self, given: QuotaInput) -> NDArray[np.bool_]:
        return np.isnan(mean_errors(given.validation)) & (given.available > 0)
