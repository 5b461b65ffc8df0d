"""Loss: keep more of the classes with more loss, RCAP's allocation for one epoch, applied once.

Hassan, Khare, Paik, "RCAP: Robust, Class-Aware, Probabilistic Dynamic Dataset Pruning", UAI 2025,
Theorem 3.1 and Eq. 5, https://proceedings.mlr.press/v286/hassan25a.html.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.allocation import loss_weights
from dprune_cli.metrics.ranking import blocks
from dprune_cli.quotas.base import QuotaInput, QuotaRule, register


@register
@dataclass(frozen=True, kw_only=True)
class Loss(QuotaRule):
    """n_j = B sqrt(p_j L_j) / sum_k sqrt(p_k L_k), so w_j = sqrt(p_j L_j).

    p_j = N_j / N and L_j is the sum over the class of the losses clipped to [0, tau]. As in the paper:
    a class that would get more than it has is kept whole and the formula runs again over the others.
    Departs from the paper: there the classes are allocated anew before every epoch (sampler `rcap`);
    here once, from the `loss` column of the table, over all samples of a class. When every L_j is 0 the
    budget is spread in proportion to N_j.

    Attributes:
        clip: tau; by default log C, the loss of a uniform prediction over C classes.
    """

    info = MethodInfo(
        name="loss", title="RCAP allocation", paper="https://proceedings.mlr.press/v286/hassan25a.html"
    )
    needs: ClassVar[str] = "the column loss"
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise UsageError(f"loss:clip={self.clip} is not a number above 0")

    def columns(self) -> tuple[str, ...]:
        """The losses."""
        return ("loss",)

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) sqrt(p_j L_j); `DataError` if a sample that may be kept has no loss."""
        values = given.column("loss")
        missing = int(np.count_nonzero(np.isnan(values)))
        if missing:
            raise DataError(
                f"column 'loss' is null for {missing} of {len(values)} samples with status ok;"
                " `dprune evaluate RUN DATA` writes it for all of them"
            )
        size = len(given.available)
        ceiling = math.log(given.classes or size) if self.clip is None else self.clip
        total = np.zeros(size)
        for own in blocks(len(values)):
            clipped = np.clip(values[own].astype(np.float64), 0, ceiling)
            np.add.at(total, given.stratum[own].astype(np.intp), clipped)
        return loss_weights(given.available, total)
