"""Weighted draws: a random choice in which better scores are likelier, and no sample is ruled out.

The draws are those of RCAP within a class (Hassan, Khare, Paik, UAI 2025, PMLR v286), made once here
instead of every epoch. They are vectorised by the Gumbel top-k trick: Kool, van Hoof, Welling, "Stochastic
Beams and Where to Find Them", ICML 2019, section 2.3, https://arxiv.org/abs/1903.06059.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import End, MethodInfo
from dprune_cli.io.keys import uniform
from dprune_cli.metrics.ranking import Tie, blocks, choose
from dprune_cli.pickers.base import EndPicker, register


@register
@dataclass(frozen=True, kw_only=True)
class Weighted(EndPicker):
    """Draws without replacement, the next one with p_i ~ exp(+-v_i / temperature) among those not drawn.

    The sign is + where the high end of the column is kept and - where the low one is. The draws are the
    `count` largest of +-v_i / temperature + g_i with independent standard Gumbel numbers g_i, which have
    the same distribution (the paper's theorem 1). As in the paper, but g_i comes from the seeded hash of
    the sample's key, so the order of the samples does not matter.

    The limits fit: at a small temperature these are the samples of `top`, at a large one, or where all
    values are equal, those of `random`. A value that is infinite towards the kept end is drawn before all
    others, one towards the other end after all others.

    Attributes:
        end: `high` or `low`; by default the end that the score's metadata say, else `high`.
        temperature: above 0, in units of the column.
    """

    info = MethodInfo(name="weighted", title="Weighted draws", paper="https://arxiv.org/abs/1903.06059")
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"weighted:temperature={self.temperature} is no number above 0")
        if self.end == "middle":
            raise UsageError(
                "--pick weighted prefers one end of a column, not the middle; give --end high or low"
            )

    def pick(
        self, values: NDArray[np.floating[Any]] | None, count: int, tie: Tie, m: int
    ) -> NDArray[np.int64]:
        """See `Picker.pick`.

        >>> hashes = lambda rows: np.array([2**63, 2**62, 2**61], np.uint64)[rows]
        >>> Weighted(end="low").pick(np.array([0.0, 9.0, 1.0]), 1, hashes, 3).tolist()
        [2]
        """
        if values is None:
            raise ValueError("weighted draws go by values")
        if count in (0, m):
            return np.arange(count, dtype=np.int64)
        drawn = np.empty(m)
        shift = _largest_finite(values, self.end)
        for own in blocks(m):
            logits = values[own].astype(np.float64)
            hashes = tie(np.arange(own.start, own.stop))
            drawn[own] = perturb(-logits if self.end == "low" else logits, hashes, self.temperature, shift)
        return choose(drawn, count, tie)


def _largest_finite(values: NDArray[np.floating[Any]], end: End | None) -> float:
    """The largest finite logit; 0 if there is none."""
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0
    if end == "low":
        return -float(values.min(where=finite, initial=np.inf))
    return float(values.max(where=finite, initial=-np.inf))


def perturb(
    logits: NDArray[np.float64], hashes: NDArray[np.uint64], temperature: float, largest: float
) -> NDArray[np.float64]:
    """(m,) logits / temperature + g, up to a shift and a factor that are the same for all.

    g = -log(-log(1 - u)) falls with u, the hash as a number between 0 and 1: of equal logits the smallest
    hash wins, as everywhere.

    Args:
        logits: (m,) without NaN.
        hashes: (m,) seeded hashes.
        temperature: above 0.
        largest: finite logit of all that are drawn among.

    >>> perturb(np.array([5.0, 5.0, 4.0]), np.array([2**63] * 3, np.uint64), 2.0, 5.0).round(4).tolist()
    [0.3665, 0.3665, -0.1335]
    """
    # A hash of 0 would give an infinite g, which an infinite logit could turn into NaN.
    gumbel = -np.log(-np.log1p(-np.maximum(uniform(hashes), 2.0**-54)))
    # The largest logit becomes 0, so that no g is lost to rounding where it could decide anything.
    with np.errstate(over="ignore"):
        logits = logits - largest
    # Multiplied or divided so that neither can overflow.
    return logits + temperature * gumbel if temperature < 1 else logits / temperature + gumbel
