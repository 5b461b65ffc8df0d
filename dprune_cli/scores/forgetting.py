"""Forgetting events.

Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning", ICLR 2019,
section 3, https://arxiv.org/abs/1812.05159
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores.base import Score, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo
from dprune_cli.train.recorders import Transitions


@register
@dataclass(frozen=True, kw_only=True)
class Forgetting(Score):
    """How often a sample was forgotten: s_i = #{t : correct at visit t, wrong at visit t + 1}, 0 ... E + 1.

    Watches consecutive training visits. A sample that was never learned scores E + 1, above any count.
    Departs from the paper: the paper adds the number of presentations over all its runs; here a run's
    never-learned value is finite and runs are averaged.
    """

    info = ScoreInfo(
        name="forgetting",
        title="Forgetting events",
        paper="https://arxiv.org/abs/1812.05159",
        keep_first="high",
        hard_end="high",
    )

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """Transitions from correct to wrong."""
        return {"transitions": Transitions()}

    def compute(self, run: RunInfo, *, transitions: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) counts; E + 1 where a sample was never learned, NaN where it was never seen."""
        forgotten, learned = transitions.double()
        score = torch.where(learned == 0, run.epochs + 1.0, forgotten)
        return torch.where(learned < 0, float("nan"), score)
