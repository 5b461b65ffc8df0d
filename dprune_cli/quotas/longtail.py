"""Long tail: class counts that fall geometrically, to make an imbalanced data set on purpose.

Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
section 5.1 (long-tailed CIFAR), https://arxiv.org/abs/1901.05555.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import MethodInfo
from dprune_cli.quotas.base import QuotaInput, QuotaRule, register


@register
@dataclass(frozen=True, kw_only=True)
class Longtail(QuotaRule):
    """w_k = factor ** (-k / (C - 1)) for class id k, so the first class gets `factor` times the last.

    Departs from the paper: there n_k = N_k * mu ** k of a balanced set, and the size of the result
    follows; here the budget is given and sets the head, and classes that lack the samples are kept whole
    while the others share what those leave, so the realised factor is smaller where that happens.

    Attributes:
        factor: largest over smallest count, at least 1; the paper's imbalance factor.
    """

    info = MethodInfo(name="longtail", title="Long tail", paper="https://arxiv.org/abs/1901.05555")
    factor: float

    def __post_init__(self) -> None:
        if not 1 <= self.factor < math.inf:
            raise UsageError(f"longtail:factor={self.factor} is not a number of at least 1")

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) from 1 for the first id down to 1 / factor for the last; 1 for a single class."""
        classes = len(given.available)
        return np.asarray(self.factor ** (-np.arange(classes) / max(classes - 1, 1)), np.float64)
