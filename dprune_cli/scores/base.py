"""What a score is: what to watch, and what it means. It never selects or balances classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.core.registry import Registry
from dprune_cli.train.hooks import Recorder, Weighter
from dprune_cli.train.observe import RunInfo


class Learner(Weighter, Protocol):
    """A weighter that learns something of every sample while it weighs the losses."""

    def result(self) -> Tensor:
        """(N,) what was learned."""


@dataclass(frozen=True)
class Sequel:
    """Training that follows the query model's, on a copy of it, so that no other score is touched by it.

    Attributes:
        start: epochs of the query model's schedule after which the copy is made; 0 for an untrained one.
        epochs: length of the sequel's own schedule.
        learner: weighs the losses meanwhile; its result reaches `compute` as the argument `learned`.
    """

    start: int
    epochs: int
    learner: Learner


class Score(ABC):
    """One number a sample, as its paper defines it: never flipped, NaN where it is undefined.

    Subclasses are frozen dataclasses whose fields are the parameters that users set with
    `-m NAME:param=value`.
    """

    info: ClassVar[ScoreInfo]

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """What to watch in a run of `epochs` epochs, by the argument name of `compute`; {} for nothing.

        Raises:
            UsageError: the schedule is too short for this score, or a parameter makes no sense; raised
                before anything is trained.
        """
        return {}

    def sequel(self, epochs: int) -> Sequel | None:
        """Training of the score's own, after a query model's schedule of `epochs` epochs; None for none."""
        return None

    def check(self, run: RunInfo) -> None:  # noqa: B027 - most scores have a meaning for any data
        """Refuse data that the score has no meaning for, before anything is trained.

        Raises:
            DataError: naming the class or sample that stands in the way.
        """

    @abstractmethod
    def compute(self, run: RunInfo, **recorded: Tensor) -> Tensor:
        """(N,) scores from what the recorders of `recorders` hold after a run."""

    def facts(self, **recorded: Tensor) -> dict[str, Any]:
        """What the table's metadata should say about a run beyond parameters; takes what `compute` takes."""
        return {}


SCORES: Registry[Score] = Registry("score", "dprune_cli.scores")
register = SCORES.register
