"""TDDS, temporal dual-depth scoring.

Zhang, Du, Li, Xie, Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, equations 10 to 12 and algorithm 1, https://arxiv.org/abs/2311.13613

The paper's settings for CIFAR-100, schedule of 200 epochs:

    pruned          0.3   0.5   0.7   0.8   0.9
    `epochs` (T)     90    70    60    20    10
    `window` (K)     10    10    20    10     5
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._windows import check_window
from dprune_cli.scores.base import Score, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo
from dprune_cli.train.window_recorders import Variant, tdds_change


@register
@dataclass(frozen=True, kw_only=True)
class Tdds(Score):
    """How unsteadily a sample's prediction moves: R <- beta R_t + (1 - beta) R over windows of K epochs.

    R_t = sum_j (d_j - mean d)^2 over the K - 1 differences d_j = sum_c p_{j+1,c} log(p_{j+1,c} / p_{j,c}) of
    the window that ends at epoch t <= T; R starts at 0. Watches the training visits of the first T =
    `epochs` epochs, by default 30 % of the schedule, rounded up, and at least K; `decay` is beta. As in the
    paper; `variant=authors` is its code, d_j = sum_c |p_{j+1,c} (ln(p_{j+1,c} + 1e-8) - ln(p_{j,c} + 1e-8))|
    and R_t the root of the sum of squares.

    High is kept. The paper does not say which end is hard; here it is the high one, for what was learned
    early and stays learned stands still. But so can a sample that is never learned.

    A sample visited fewer than K times has no value.

    Memory O(N (C + K)) on the training device.
    """

    info = ScoreInfo(
        name="tdds",
        title="Temporal dual-depth score",
        paper="https://arxiv.org/abs/2311.13613",
        keep_first="high",
        hard_end="high",
    )
    window: int = 10
    epochs: int | None = None
    decay: float = 0.9
    variant: Variant = "paper"

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The unsteadiness in windows of K of the first T epochs."""
        check_window("tdds", self.window, epochs, 3, "two differences to compare")
        last = max(self.window, _share(epochs)) if self.epochs is None else self.epochs
        if last > epochs:
            raise UsageError(f"tdds:epochs={last} lies outside the schedule of {epochs} epochs")
        if last < self.window:
            raise UsageError(
                f"tdds:epochs={last} is shorter than its windows of {self.window} epochs; give more, or a "
                "smaller tdds:window"
            )
        watched = frozenset(range(1, last + 1))
        return {"change": tdds_change(self.window, self.decay, self.variant, watched)}

    def compute(self, run: RunInfo, *, change: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) the moving average."""
        return change


def _share(epochs: int) -> int:
    """30 % of the schedule, rounded up: the 60 of 200 epochs that the paper takes to prune 70 %."""
    return -(-3 * epochs // 10)
