"""How much weight a class or group has in a budget: the rules of DRoP and RCAP, as they are published.

Both the quotas of a selection and the budgets of an epoch go by them; `core.budget.allocate` makes
integers of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
