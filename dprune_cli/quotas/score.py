"""Score: the class counts that one global cut by a score implies.

Called StrategyQ in Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust Data Pruning", ICLR 2025,
https://arxiv.org/abs/2404.05579: it tells whether a score owes its fairness to the class counts it implies
or to the samples it picks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.info import End, MethodInfo
from dprune_cli.metrics.coverage import count_strata
from dprune_cli.metrics.ranking import choose, positions
from dprune_cli.quotas.base import QuotaInput, QuotaRule, register


@register
@dataclass(frozen=True, kw_only=True)
class Score(QuotaRule):
    """w_k = how many samples of stratum k are among the B that a score keeps of the whole data set.

    As in the paper. Equal scores at the cut are told apart by seeded key hashes. Samples without a score
    are never counted.

    Attributes:
        by: the score column.
        end: the end of it that is kept: `high`, `low`, or `middle` (around the median rank); by default
            the one that the score's own paper keeps.
    """

    info = MethodInfo(name="score", title="Counts of a global cut", paper="https://arxiv.org/abs/2404.05579")
    needs: ClassVar[str] = "a score column"
    by: str
    end: End | None = None

    def columns(self) -> tuple[str, ...]:
        """The score column."""
        return (self.by,)

    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) counts that sum to the budget; `BudgetError` if fewer samples have the score."""
        values = given.column(self.by)
        end = self.end or given.keep_first(self.by)
        if end is None:
            raise UsageError(
                f"the table does not say which end of {self.by!r} to keep;"
                f" give score:by={self.by},end=high or end=low"
            )
        scored = positions(~np.isnan(values))
        if len(scored) < given.total:
            raise BudgetError(
                f"{given.total} samples are to be kept, but column {self.by!r} has {len(scored)} values"
            )
        own = values if len(scored) == len(values) else values[scored]
        kept = scored[choose(own, given.total, lambda rows: given.tie(scored[rows]), end)]
        return count_strata(given.stratum[kept], len(given.available)).astype(np.float64)
