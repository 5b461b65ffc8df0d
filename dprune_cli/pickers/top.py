"""Top: the samples that a score puts first. Every score-based pruning paper picks this way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.ranking import Tie, choose
from dprune_cli.pickers.base import EndPicker, register


@register
@dataclass(frozen=True, kw_only=True)
class Top(EndPicker):
    """The `count` samples at the kept end of the column; equal values by the smallest seeded key hash.

    `middle` is the window of `count` samples around the median rank; where it cannot lie there exactly,
    it lies half a rank lower.

    Attributes:
        end: `high`, `low` or `middle`; by default the end that the score's metadata say, else `high`.
    """

    info = MethodInfo(name="top", title="Best by score", paper="none: a baseline")

    def pick(
        self, values: NDArray[np.floating[Any]] | None, count: int, tie: Tie, m: int
    ) -> NDArray[np.int64]:
        """See `Picker.pick`.

        >>> hashes = lambda rows: rows.astype(np.uint64)
        >>> Top(end="low").pick(np.array([0.3, 0.1, 0.2]), 2, hashes, 3).tolist()
        [1, 2]
        """
        if values is None:
            raise ValueError("top ranks by values")
        return choose(values, count, tie, self.end or "high")
