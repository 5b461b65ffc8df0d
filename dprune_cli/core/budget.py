"""Budgets as people write them, and exact integers from real-valued shares.

`0.3` and `30%` are fractions, `5000` is a count; it is always what is KEPT. A fraction F of N samples
is round-half-up(F * N) of them, computed in decimal, so that 0.15 of 10 is 2 and never 1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dprune_cli.core.errors import BudgetError, UsageError

# Real shares come out of float arithmetic, whose error is about 5e-9 at classes of ten million samples;
# remainders that agree to this many decimals are the same, and the tie goes to the lower class id
# instead of to the rounding error.
_DECIMALS = 6


_NUMBER = re.compile(r"(?P<number>\d{1,18}(\.\d{0,18})?|\.\d{1,18})(?P<percent>%?)", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """How much to keep: a fraction of the samples or a count of them."""

    text: str
    amount: Fraction
    is_count: bool

    def count(self, available: int) -> int:
        """Samples to keep of `available`; `BudgetError` unless it is between 1 and all of them.

        >>> parse_budget("0.15").count(10), parse_budget("15%").count(10), parse_budget("4").count(10)
        (2, 2, 4)
        """
        if not self.is_count and self.amount > 1:
            raise BudgetError(f"--keep {self.text} is more than everything; write a count without a dot or %")
        exact = self.amount if self.is_count else self.amount * available
        count = round_half_up(exact)
        if count > available:
            raise BudgetError(f"--keep {self.text} asks for {count} samples, but there are only {available}")
        if count < 1:
            raise BudgetError(f"--keep {self.text} keeps none of {available} samples")
        return count


def parse_budget(text: str, option: str = "--keep") -> Budget:
    """A budget from `0.3`, `30%` or `5000`."""
    body = text.strip()
    match = _NUMBER.fullmatch(body)
    if match is None:
        raise UsageError(f"{option} {text}: write a fraction (0.3 or 30%) or a count (5000)")
    amount = Fraction(match["number"])
    return Budget(body, amount / 100 if match["percent"] else amount, body.isdecimal())


def round_half_up(value: Fraction) -> int:
    """The nearest integer, halves upwards."""
    return math.floor(value + Fraction(1, 2))


def fill(weights: ArrayLike, caps: ArrayLike, total: float) -> NDArray[np.float64]:
    """Real shares n_k = min(caps_k, lambda * weights_k) that sum to `total`.

    Classes that the present lambda would fill beyond their cap are set to it, and lambda is found again
    for the others, so it ends after at most C passes. When every class that still has room has weight 0,
    the rest is spread over those classes in proportion to their caps.

    Args:
        weights: (C,) at least 0.
        caps: (C,) at least 0.
        total: at most the sum of the caps.

    >>> fill([50, 100, 200, 350], [500] * 4, 600).round(3).tolist()  # DRoP, r = .9 .8 .6 .3, d = .3
    [42.857, 85.714, 171.429, 300.0]
    """
    weight, cap = np.asarray(weights, np.float64), np.asarray(caps, np.float64)
    if weight.max(initial=0.0) > 0:
        weight = weight / weight.max()  # so that tiny weights cannot overflow the scale below
    share = np.zeros_like(weight)
    active = (weight > 0) & (cap > 0)
    rest = float(total)
    while active.any() and rest > 0:
        scale = rest / weight[active].sum()
        full = active & (weight * scale >= cap)
        if not full.any():
            share[active] = weight[active] * scale
            rest = 0.0
            break
        share[full] = cap[full]
        rest -= float(cap[full].sum())
        active &= ~full
    room = cap - share
    if rest > 0 and room.sum() > 0:
        idle = np.where(share == 0, cap, 0.0)
        share += idle * min(1.0, rest / idle.sum()) if idle.sum() > 0 else 0.0
    return share


def largest_remainder(shares: ArrayLike, caps: ArrayLike, total: int) -> NDArray[np.int64]:
    """Integers that sum to `total`, stay within `caps` and differ from `shares` by less than 1.

    Ties between equal remainders go to the lower index.

    >>> largest_remainder([1.5, 1.5, 2.0], [9, 9, 9], 5).tolist()
    [2, 1, 2]
    """
    share = np.round(np.asarray(shares, np.float64), _DECIMALS)
    cap = np.asarray(caps, np.int64)
    count = np.minimum(np.floor(share).astype(np.int64), cap)
    remainder = np.where(count < cap, np.round(share - count, _DECIMALS), -1.0)
    missing = total - int(count.sum())
    while missing > 0:
        order = np.argsort(-remainder, kind="stable")
        order = order[count[order] < cap[order]][:missing]
        if len(order) == 0:
            raise BudgetError(f"{total} samples do not fit into {int(cap.sum())}")
        count[order] += 1
        missing -= len(order)
    return count


def allocate(weights: ArrayLike, available: ArrayLike, total: int, minimum: int = 0) -> NDArray[np.int64]:
    """Exact quotas: `minimum` a class first, then the rest in proportion to `weights`.

    Every class first gets min(minimum, available_k); what is left of `total` is spread by `fill` and
    made whole by `largest_remainder`.

    Args:
        weights: (C,) at least 0, e.g. N_k * (1 - recall_k) for DRoP.
        available: (C,) samples of each class.
        total: samples to keep, at most the sum of `available`.
        minimum: samples promised to every class.

    Raises:
        BudgetError: `total` is more than there is, or less than the promised minimum.

    >>> allocate([1, 1], [10, 90], 50).tolist(), allocate([0, 1], [10, 90], 50, minimum=3).tolist()
    ([10, 40], [3, 47])
    """
    have = np.asarray(available, np.int64)
    if total > have.sum():
        raise BudgetError(f"{total} samples are to be kept, but there are only {have.sum()}")
    floor = np.minimum(minimum, have)
    rest = total - int(floor.sum())
    if rest < 0:
        raise BudgetError(
            f"--min-per-class {minimum} needs {floor.sum()} samples, more than the {total} to be kept"
        )
    room = have - floor
    return floor + largest_remainder(fill(weights, room, rest), room, rest)
