"""Scores that look at a model while it still learns: which epoch that is, and the one pass they watch."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from dprune_cli.core.errors import UsageError
from dprune_cli.scores.base import Score
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo


def early_epoch(score: str, asked: int | None, epochs: int) -> int:
    """The epoch after which `score` looks: 10 % of the schedule, at least 10 epochs, at most the whole run.

    Args:
        score: its name, for messages.
        asked: the user's own choice; None for the default.
        epochs: E, the length of the schedule.

    Raises:
        UsageError: the user's choice lies outside the schedule.

    >>> early_epoch("el2n", None, 205), early_epoch("el2n", None, 30), early_epoch("el2n", 3, 30)
    (21, 10, 3)
    """
    epoch = min(epochs, max(10, math.ceil(epochs / 10))) if asked is None else asked
    if not 1 <= epoch <= epochs:
        raise UsageError(f"{score}:epoch={epoch} lies outside the schedule of {epochs} epochs")
    return epoch


@dataclass(frozen=True, kw_only=True)
class EarlyScore(Score):
    """A number read off one clean pass in eval mode after epoch `epoch`."""

    epoch: int | None = None

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The number in the clean pass after the chosen epoch."""
        return {"norms": self.watch(frozenset({early_epoch(self.info.name, self.epoch, epochs)}))}

    @abstractmethod
    def watch(self, epochs: frozenset[int]) -> Recorder:
        """A recorder of the number in the clean passes after these epochs."""

    def compute(self, run: RunInfo, *, norms: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) the numbers."""
        return norms
