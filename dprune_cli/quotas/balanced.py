"""Balanced: the same number of samples everywhere.

Idrissi, Arjovsky, Pezeshki, Lopez-Paz, "Simple data balancing achieves competitive worst-group-accuracy",
CLeaR 2022, SUBY (classes) and SUBG (groups), https://arxiv.org/abs/2110.14503.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import MethodInfo
from dprune_cli.quotas.base import QuotaInput, QuotaRule, register


@register
@dataclass(frozen=True, kw_only=True)
class Balanced(QuotaRule):
    """Every stratum keeps the same count, as far as it has that many: w_k = 1.

    Departs from the paper: there every stratum is cut to the size of the smallest; here the budget sets
    the count, strata with less are kept whole, and the others share what those leave.
    """

    info = MethodInfo(name="balanced", title="Same count", paper="https://arxiv.org/abs/2110.14503")

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) ones."""
        return np.ones(len(given.available))
