"""How much weight a class or group has in a budget: the rules of DRoP and RCAP, as they are published.

Both the quotas of a selection and the budgets of an epoch go by them; `core.budget.allocate` makes
integers of them. What is to be done about strata without validation data is the same for both, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError, UsageError

MissingClass = Literal["error", "mean"]

_NAMED = 5


def drop_weights(sizes: NDArray[np.int64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) N_k * e_k, so that the densities are proportional to the errors.

    Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust Data Pruning", ICLR 2025, Algorithm 1,
    https://arxiv.org/abs/2404.05579.

    Args:
        sizes: (S,) samples of every stratum; one without any has weight 0, whatever its error.
        error: (S,) in [0, 1]; NaN where it is unknown.

    >>> drop_weights(np.array([10, 5, 0]), np.array([0.1, 0.4, np.nan])).tolist()
    [1.0, 2.0, 0.0]
    """
    return np.where(sizes > 0, sizes * error, 0.0)


def check_smoothing(smoothing: float) -> None:
    """`UsageError` unless it is a number of at least 0."""
    if not 0 <= smoothing < math.inf:
        raise UsageError(f"drop:smoothing={smoothing} is not a number of at least 0")


def absent_strata(sizes: NDArray[np.int64], error: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(S,) those that have samples to choose from, and none in validation, so that their error is NaN."""
    return np.isnan(error) & (sizes > 0)


def complete_errors(
    sizes: NDArray[np.int64], error: NDArray[np.float64], names: Sequence[str], missing_class: MissingClass
) -> NDArray[np.float64]:
    """(S,) the errors, with an assumed one for strata that have samples and none in validation.

    Args:
        sizes: (S,) samples of every stratum.
        error: (S,) in [0, 1], NaN where validation has no sample.
        names: of the strata, for the message.
        missing_class: refuse such strata, or give them the unweighted mean of the other errors.

    Raises:
        DataError: there is such a stratum, and it is to be refused or no error at all is known.

    >>> complete_errors(np.array([9, 9, 9]), np.array([0.5, np.nan, 0.25]), ["a", "b", "c"], "mean").tolist()
    [0.5, 0.375, 0.25]
    """
    absent, known = absent_strata(sizes, error), ~np.isnan(error)
    if not absent.any():
        return error
    if missing_class == "error" or not known.any():
        raise DataError(
            f"validation has no sample of {name_some(absent, names)}; add some, or give"
            " drop:missing_class=mean to assume the mean error of the other classes"
        )
    return np.where(absent, error[known].mean(), error)


def loss_weights(sizes: NDArray[np.int64], loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) sqrt(p_j L_j) with p_j = N_j / N.

    Hassan, Khare, Paik, "RCAP: Robust, Class-Aware, Probabilistic Dynamic Dataset Pruning", UAI 2025,
    Theorem 3.1, https://proceedings.mlr.press/v286/hassan25a.html.

    Args:
        sizes: (S,) N_j, samples of every stratum.
        loss: (S,) L_j, sums of losses, at least 0.

    >>> loss_weights(np.array([6, 3, 1]), np.array([60.0, 90.0, 80.0])).round(3).tolist()
    [6.0, 5.196, 2.828]
    """
    return np.sqrt(sizes / max(int(sizes.sum()), 1) * loss)


def error_rates(
    errors: NDArray[np.int64], count: NDArray[np.int64], smoothing: float = 0
) -> NDArray[np.float64]:
    """(..., S) (errors_k + s) / (count_k + 2 s): what s right and s wrong predictions more would give.

    NaN where there is no sample, whatever the smoothing.

    >>> error_rates(np.array([1, 0]), np.array([4, 0]), smoothing=1).round(3).tolist()
    [0.333, nan]
    """
    rate = np.full(np.shape(count), np.nan)
    np.divide(errors + smoothing, count + 2 * smoothing, out=rate, where=count > 0)
    return rate


def name_some(chosen: NDArray[np.bool_], names: Sequence[str]) -> str:
    """The names of the chosen strata, the first few of them if they are many.

    >>> name_some(np.array([True, False, True]), ["cat", "dog", "eel"])
    "'cat', 'eel'"
    """
    ids = np.flatnonzero(chosen)
    shown = ", ".join(repr(names[k]) for k in ids[:_NAMED])
    return shown if len(ids) <= _NAMED else f"{shown} and {len(ids) - _NAMED} more"
