"""What a picker is: it chooses k of the m candidates of one stratum, and knows of no other stratum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import End, MethodInfo
from dprune_cli.core.registry import Registry
from dprune_cli.metrics.ranking import Tie


class Picker(ABC):
    """Chooses samples within one class or group.

    Subclasses are frozen dataclasses whose fields are the parameters that users set with
    `--pick NAME:param=value`. What they choose depends on the keys of the candidates, not on their order.

    Attributes:
        needs_values: whether the picker ranks by a column.
    """

    info: ClassVar[MethodInfo]
    needs_values: ClassVar[bool]

    def oriented(self, keep_first: End) -> Picker:
        """This picker for a column whose `keep_first` end is kept, unless a parameter says otherwise."""
        return self

    @abstractmethod
    def pick(self, values: NDArray[np.float64] | None, count: int, tie: Tie, m: int) -> NDArray[np.int64]:
        """Positions of the chosen candidates.

        Args:
            values: (m,) the column as it stands in the table, never flipped, without NaN; None only if
                the picker does not need values.
            count: how many to choose, 0 to m.
            tie: positions to the seeded hashes of their keys.
            m: how many candidates there are.

        Returns:
            (count,) positions in 0 to m - 1, ascending, each once.
        """


PICKERS: Registry[Picker] = Registry("picker", "dprune_cli.pickers")
register = PICKERS.register
