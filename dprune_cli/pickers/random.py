"""Random: any samples, each as likely. The picker of "Random+DRoP" (https://arxiv.org/abs/2404.05579)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import MethodInfo
from dprune_cli.metrics.ranking import Tie, first_hashes
from dprune_cli.pickers.base import Picker, register


@register
@dataclass(frozen=True, kw_only=True)
class Random(Picker):
    """The `count` samples with the smallest seeded key hashes.

    So it is a function of the seed and the keys alone, and what it keeps at a smaller count is part of
    what it keeps at a larger one.
    """

    info = MethodInfo(name="random", title="Uniformly random", paper="none: a baseline")
    needs_values: ClassVar[bool] = False

    def pick(
        self, values: NDArray[np.floating[Any]] | None, count: int, tie: Tie, m: int
    ) -> NDArray[np.int64]:
        """See `Picker.pick`; `values` are ignored.

        >>> Random().pick(None, 2, lambda rows: np.array([30, 10, 20], np.uint64)[rows], 3).tolist()
        [1, 2]
        """
        return first_hashes(range(m), count, tie).astype(np.int64)
