"""What a score is: what to watch, and what it means. It never trains, selects or balances classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.core.registry import Registry
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo


class Score(ABC):
    """One number a sample, as its paper defines it: never flipped, NaN where it is undefined.

    Subclasses are frozen dataclasses whose fields are the parameters that users set with
    `-m NAME:param=value`.
    """

    info: ClassVar[ScoreInfo]

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """What to watch in a run of `epochs` epochs, by the argument name of `compute`; {} for nothing.

        Raises:
            UsageError: the schedule is too short for this score; raised before anything is trained.
        """
        return {}

    @abstractmethod
    def compute(self, run: RunInfo, **recorded: Tensor) -> Tensor:
        """(N,) scores from what the recorders of `recorders` hold after a run."""


SCORES: Registry[Score] = Registry("score", "dprune_cli.scores")
register = SCORES.register
