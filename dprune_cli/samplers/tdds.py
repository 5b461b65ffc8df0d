"""TDDS as the run goes on: the samples whose predictions move most unsteadily from visit to visit.

Zhang, Du, Li, Xie, Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, equations 10 to 12 and algorithm 1, https://arxiv.org/abs/2311.13613
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.info import MethodInfo
from dprune_cli.samplers._top import TopSampler
from dprune_cli.samplers.base import register
from dprune_cli.train.observe import BatchObs, RunInfo
from dprune_cli.train.window_recorders import Variant, tdds_change


@register
@dataclass(kw_only=True)
class Tdds(TopSampler):
    """The top of R <- beta R_t + (1 - beta) R over windows of K visits, anew every few epochs.

    R_t = sum_j (d_j - mean d)^2 over the K - 1 differences d_j = sum_c p_{j+1,c} log(p_{j+1,c} / p_{j,c}) of
    a sample's last K visits; `decay` is beta. A sample that was visited fewer than K times has no R yet and
    comes before all that have one; among such samples chance decides. So the budget holds from the first
    epoch, and at keep fraction f every sample has its R after about K / f epochs. A shorter run is spent on
    finding them, which makes it much like random draws; give a warm-up of K epochs to have them at once.

    Departs from the paper, which scores once, from all epochs of a run over all data, and prunes once. Here
    a window is K visits of the sample's own, however many epochs lie between them. `variant=authors` has
    the differences and windows of the authors' code; see the score `tdds`.

    K is 3, the least that gives two differences, where the paper has 10: that would take 10 / f epochs. The
    period is K too. If it is shorter, the visits that make a window come from different selections, with
    gaps of many epochs between them. If it is longer, visits go to samples that have their R already while
    others have none.

    Memory O(N (C + K)) on the training device.

    Attributes:
        period: epochs from one selection to the next; by default the window.
        warmup: epochs at the start that visit everything; the others visit less, so that the average holds.
        window: K, at least 3.
        decay: weight of the newest window, in (0, 1].
        variant: the formulas of the `paper`, or of its `authors`' code.
    """

    info = MethodInfo(
        name="tdds", title="Temporal dual-depth score", paper="https://arxiv.org/abs/2311.13613"
    )
    needs: ClassVar[str] = "predictions of the visits"
    window: int = 3
    decay: float = 0.9
    variant: Variant = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._change = tdds_change(self.window, self.decay, self.variant)

    def usual_period(self, epochs: int) -> int:
        """See `TopSampler.usual_period`; the window."""
        return self.window

    def start(self, run: RunInfo, visits: int | None) -> None:
        """See `Sampler.start`."""
        super().start(run, visits)
        # One dictionary, so that what is restored into it is what the recorder goes on with.
        self._change.state = self.state

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """The trajectories, as `WindowChange` holds them."""
        return {**super().initial(run), **self._change.initial(run)}

    def update(self, obs: BatchObs) -> None:
        """Take the new predictions into the trajectories."""
        self._change.update(obs)

    def score(self) -> NDArray[np.float64]:
        """(N,) R, infinite for a sample that has none yet."""
        change = self._change.result().cpu().numpy()
        return np.where(np.isnan(change), math.inf, change)
