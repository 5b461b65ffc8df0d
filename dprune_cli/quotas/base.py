"""What a quota rule is, what it is given, and the one function that turns its weights into integers.

A rule only says how much weight every stratum (class or group) has. The quotas are then the integers
nearest to n_k = min(N_k, lambda * w_k) with lambda such that they sum to the budget; see `core.budget`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.budget import allocate
from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import End, MethodInfo
from dprune_cli.core.registry import Registry
from dprune_cli.metrics.allocation import error_rates, name_some
from dprune_cli.metrics.ranking import Tie


@dataclass(frozen=True)
class Validation:
    """One model's predictions of a validation set, counted by stratum.

    Attributes:
        errors: (S,) wrongly predicted validation samples.
        count: (S,) validation samples.
    """

    errors: NDArray[np.int64]
    count: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class QuotaInput:
    """All that a rule may look at; N' candidates (samples that may be kept) in S strata.

    Attributes:
        total: samples to keep.
        names: stratum names by id.
        available: (S,) candidates of every stratum.
        stratum: (N',) stratum id of every candidate, in any integer type.
        validation: one entry a validation table; may be empty.
        column: (N',) float32 or float64 values of a table column for the candidates, NaN where null;
            raises `DataError` for a column that is not there.
        tie: candidate numbers to the seeded hashes of their keys.
        keep_first: the end of a score column that its metadata say to keep; None if they say nothing.
        classes: classes that the model tells apart, where the strata are groups; None if they are the
            strata.
    """

    total: int
    names: list[str]
    available: NDArray[np.int64]
    stratum: NDArray[Any]
    validation: tuple[Validation, ...]
    column: Callable[[str], NDArray[np.floating[Any]]]
    tie: Tie
    keep_first: Callable[[str], End | None]
    classes: int | None = None


@dataclass(frozen=True)
class QuotaResult:
    """Quotas and what to tell the user about them.

    Attributes:
        quotas: (S,) samples to keep of every stratum.
        recall: (S,) recall on validation, the mean over the tables, NaN where it is not known; None
            without any validation table.
        warnings: one line each.
    """

    quotas: NDArray[np.int64]
    recall: NDArray[np.float64] | None
    warnings: list[str] = field(default_factory=list)


class QuotaRule(ABC):
    """How much weight every stratum has.

    Subclasses are frozen dataclasses whose fields are the parameters that users set with
    `--method NAME:param=value`. They look at their input only, so the order of the candidates does not
    matter to them.
    """

    info: ClassVar[MethodInfo]
    needs: ClassVar[str] = "class sizes"
    needs_validation: ClassVar[bool] = False
    few_samples: ClassVar[Mapping[str, str]] = {}
    """Parameters, as users write them, that suit validation data with few samples of a class, or none."""

    def columns(self) -> tuple[str, ...]:
        """Columns of the table that it looks at."""
        return ()

    @abstractmethod
    def weights(self, given: QuotaInput) -> NDArray[np.float64]:
        """(S,) finite weights of at least 0; the shares are n_k = min(N_k, lambda * w_k)."""

    def warnings(self, given: QuotaInput) -> list[str]:
        """What the user should know about how the weights came about; one line each."""
        return []


QUOTAS: Registry[QuotaRule] = Registry("quota method", "dprune_cli.quotas")
register = QUOTAS.register


def quotas_for(rule: QuotaRule, given: QuotaInput, minimum: int = 0) -> QuotaResult:
    """Exact quotas by a rule.

    Args:
        rule: gives the weights.
        given: what the rule looks at, and the budget.
        minimum: every stratum first gets this many samples, or all it has; the rule spreads the rest.

    Raises:
        BudgetError: the budget is more than there is, or less than `minimum` needs.
        UsageError: `minimum` is negative, or what the rule needs was not given.
        DataError: the data that the rule needs are bad or missing.
    """
    if minimum < 0:
        raise UsageError(f"--min-per-class {minimum} is negative")
    weights = rule.weights(given)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{rule} gave weights that are negative or not finite: {weights}")
    quotas = allocate(weights, given.available, given.total, minimum)
    warnings = rule.warnings(given) + _allocation_warnings(weights, quotas, given, minimum)
    recall = 1 - mean_errors(given.validation) if given.validation else None
    return QuotaResult(quotas, recall, warnings)


def mean_errors(validation: Sequence[Validation], smoothing: float = 0) -> NDArray[np.float64]:
    """e_k = (errors_k + s) / (count_k + 2 s), averaged over the tables that have samples of stratum k.

    Args:
        validation: at least one table.
        smoothing: s, at least 0; what it adds are s right and s wrong predictions.

    Returns:
        (S,) in [0, 1], NaN where no table has a sample, whatever the smoothing.

    >>> count = np.array([4, 0])
    >>> one, two = Validation(np.array([1, 0]), count), Validation(np.array([3, 0]), count)
    >>> mean_errors([one, two]).tolist(), mean_errors([one], smoothing=1).round(3).tolist()
    ([0.5, nan], [0.333, nan])
    """
    count = np.stack([table.count for table in validation])
    errors = np.stack([table.errors for table in validation])
    seen = count > 0
    rate = np.where(seen, error_rates(errors, count, smoothing), 0.0)
    mean = np.full(count.shape[1], np.nan)
    np.divide(rate.sum(axis=0), seen.sum(axis=0), out=mean, where=seen.any(axis=0))
    return mean


def _allocation_warnings(
    weights: NDArray[np.float64], quotas: NDArray[np.int64], given: QuotaInput, minimum: int
) -> list[str]:
    have = given.available
    surplus = quotas - np.minimum(minimum, have)
    idle = (weights == 0) & (surplus > 0)
    emptied = (quotas == 0) & (have > 0)
    found = []
    if idle.any() and (weights[have > 0] == 0).all():
        found.append("every class has weight 0, so the budget is spread in proportion to class size")
    elif idle.any():
        found.append(
            f"the other classes are kept whole, so {surplus[idle].sum()} samples are spread in proportion to"
            f" class size over those with weight 0: {name_some(idle, given.names)}"
        )
    if emptied.any():
        found.append(
            f"no sample is kept of {name_some(emptied, given.names)}; --min-per-class 1 would keep some"
        )
    return found
