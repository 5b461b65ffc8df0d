"""Dyn-Unc, dynamic uncertainty.

He, Yang, Huang, Zhao, "Large-scale Dataset Pruning with Dynamic Uncertainty", CVPR Workshops 2024,
equations 2 and 3, https://arxiv.org/abs/2306.05175
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._windows import check_window
from dprune_cli.scores.base import Score, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Phase, RunInfo, target_probability
from dprune_cli.train.recorders import WindowStd


@register
@dataclass(frozen=True, kw_only=True)
class DynUnc(Score):
    """Mean over all windows of J epochs of the spread of the label's probability: mean_k std(p_k..p_{k+J-1}).

    Unbiased standard deviation, at most 0.71. Watches the training visits. `phase=probe` watches a
    clean pass after every epoch instead, as the authors' code does, for about a third more time.
    Departs from the paper: every window counts, the last one too.
    """

    info = ScoreInfo(
        name="dyn_unc",
        title="Dynamic uncertainty",
        paper="https://arxiv.org/abs/2306.05175",
        keep_first="high",
        hard_end="high",
    )
    window: int = 10
    phase: Literal["train", "probe"] = "train"

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The label's probability in windows of J epochs."""
        check_window("dyn_unc", self.window, epochs, 2, "a standard deviation")
        return {"spread": WindowStd(target_probability, self.window, Phase(self.phase))}

    def compute(self, run: RunInfo, *, spread: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) the mean spread."""
        return spread
