"""Uniform: the same density everywhere, what random pruning gives on average.

A baseline of every pruning paper, here as in Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust
Data Pruning", ICLR 2025, https://arxiv.org/abs/2404.05579.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import MethodInfo
from dprune_cli.quotas.base import QuotaInput, QuotaRule, register


@register
@dataclass(frozen=True, kw_only=True)
class Uniform(QuotaRule):
    """Every stratum keeps the same fraction: w_k = N_k.

    As in the paper, with exact integers: random pruning without quotas has these counts as its mean.
    """

    info = MethodInfo(name="uniform", title="Same density", paper="https://arxiv.org/abs/2404.05579")

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) N_k."""
        return given.available.astype(np.float64)
