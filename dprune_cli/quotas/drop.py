"""DRoP: keep more of the classes that a preliminary model gets wrong.

Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust Data Pruning", ICLR 2025, Algorithm 1,
https://arxiv.org/abs/2404.05579.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.allocation import (
    MissingClass,
    absent_strata,
    check_smoothing,
    complete_errors,
    drop_weights,
    name_some,
)
from dprune_cli.quotas.base import QuotaInput, QuotaRule, mean_errors, register


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
    needs_validation: ClassVar[bool] = True
    few_samples: ClassVar[Mapping[str, str]] = {"smoothing": "1", "missing_class": "mean"}
    smoothing: float = 0
    missing_class: MissingClass = "error"

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) N_k * e_k; 0 for a stratum without candidates, whose recall does not matter."""
        if not given.validation:
            raise UsageError(
                "drop goes by recalls on validation data: run `dprune evaluate RUN VAL -o val.parquet`"
                " and give --val val.parquet"
            )
        errors = mean_errors(given.validation, self.smoothing)
        errors = complete_errors(given.available, errors, given.names, self.missing_class)
        return drop_weights(given.available, errors)

    def warnings(self, given: QuotaInput) -> list[str]:
        """Names the classes whose recall was assumed."""
        absent = absent_strata(given.available, mean_errors(given.validation))
        if not absent.any():
            return []
        return [
            f"validation has no sample of {name_some(absent, given.names)}; took the mean error of the others"
        ]
