"""What a picker is: it chooses k of the m candidates of one stratum, and knows of no other stratum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.info import End, MethodInfo
from dprune_cli.core.registry import Registry
from dprune_cli.metrics.ranking import Tie

HardEnd = Literal["high", "low"]
P = TypeVar("P", bound="EndPicker")


@dataclass(frozen=True)
class Cutoff:
    """Candidates that a picker wants left out before it picks: the hardest ones of every stratum.

    Attributes:
        share: share of a stratum's candidates, 0 to 1 exclusive.
        by: column that says how hard they are.
        end: the end of that column that is hard; None asks the column's metadata.
    """

    share: float
    by: str
    end: HardEnd | None = None


class Picker(ABC):
    """Chooses samples within one class or group.

    Subclasses are frozen dataclasses whose fields are the parameters that users set with
    `--pick NAME:param=value`. What they choose depends on the keys of the candidates, not on their order.

    Attributes:
        needs_values: whether the picker looks at a column.
    """

    info: ClassVar[MethodInfo]
    needs_values: ClassVar[bool]

    def leave_out(self) -> Cutoff | None:
        """What whoever calls `pick` has to leave out of the candidates; None for nothing."""
        return None

    @abstractmethod
    def pick(
        self, values: NDArray[np.floating[Any]] | None, count: int, tie: Tie, m: int
    ) -> NDArray[np.int64]:
        """Positions of the chosen candidates.

        Args:
            values: (m,) float32 or float64, the column as it stands in the table, never flipped, finite or
                infinite, without NaN; None only if the picker does not need values.
            count: how many to choose, 0 to m.
            tie: positions to the seeded hashes of their keys.
            m: how many candidates there are.

        Returns:
            (count,) positions in 0 to m - 1, ascending, each once.
        """


@dataclass(frozen=True, kw_only=True)
class EndPicker(Picker):
    """A picker that keeps, or prefers, one end of the column.

    Attributes:
        end: which; None until `oriented` has filled it in.
    """

    needs_values: ClassVar[bool] = True
    end: End | None = None

    def oriented(self: P, keep_first: End) -> P:
        """This picker for a column whose `keep_first` end is kept, unless `end` says otherwise."""
        return self if self.end else replace(self, end=keep_first)


PICKERS: Registry[Picker] = Registry("picker", "dprune_cli.pickers")
register = PICKERS.register
