"""A recorder of how much the predictions of a sample move from visit to visit, over windows of visits.

It holds the last prediction and the last few differences, never epochs x samples x classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dprune_cli.core.errors import UsageError
from dprune_cli.train.observe import BatchObs, Phase, RunInfo
from dprune_cli.train.recorders import TensorRecorder

_EPS = 1e-8

Difference = Callable[[Tensor, Tensor], Tensor]
Spread = Callable[[Tensor], Tensor]
Variant = Literal["paper", "authors"]

# Of a single difference there is no spread.
_LEAST = 3


def divergence(now: Tensor, before: Tensor) -> Tensor:
    """(B,) sum_c p_c log(p_c / q_c) in nats of (B, C) log-probabilities log p and log q; 0 or more.

    >>> now, before = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.2, 0.8]]).log()
    >>> round(divergence(now, before).item(), 6)
    0.223144
    """
    return (now.exp() * (now - before)).sum(1)


def absolute_change(now: Tensor, before: Tensor) -> Tensor:
    """(B,) sum_c | p_c (ln(p_c + 1e-8) - ln(q_c + 1e-8)) | of (B, C) log-probabilities log p and log q.

    >>> now, before = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.2, 0.8]]).log()
    >>> round(absolute_change(now, before).item(), 6)
    0.693147
    """
    eps = torch.tensor(math.log(_EPS), dtype=now.dtype, device=now.device)
    return (now.exp() * (torch.logaddexp(now, eps) - torch.logaddexp(before, eps))).abs().sum(1)


def sum_of_squares(values: Tensor) -> Tensor:
    """(B,) sum of the squared deviations from the mean over the rows of (J, B) values.

    >>> sum_of_squares(torch.tensor([[1.0], [3.0]])).item()
    2.0
    """
    return (values - values.mean(0)).square().sum(0)


def root_of_squares(values: Tensor) -> Tensor:
    """(B,) the square root of `sum_of_squares`."""
    return sum_of_squares(values).sqrt()


@dataclass(unsafe_hash=True)
class WindowChange(TensorRecorder):
    """(N,) moving average R <- decay s + (1 - decay) R, from R = 0, of the spread s of every window.

    A window is K consecutive visits, so K - 1 differences between the predictions of one visit and those of
    the visit before. A sample visited fewer than K times has NaN. Holds one N x C matrix and K + 1 numbers a
    sample.

    Attributes:
        difference: of a visit's (B, C) log-probabilities and those of the visit before.
        spread: of the (K - 1, B) differences of a window.
        window: K, at least 3.
        decay: weight of the newest window, in (0, 1].
        phase, epochs: what is watched.
    """

    difference: Difference
    spread: Spread
    window: int
    decay: float
    phase: Phase = Phase.TRAIN
    epochs: frozenset[int] | None = None

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """Last log-probabilities (N, C), ring of differences (K - 1, N), moving average and visits."""
        return {
            "last": torch.zeros(run.samples, run.classes, device=run.device),
            "ring": torch.zeros(self.window - 1, run.samples, device=run.device),
            "average": torch.zeros(run.samples, dtype=torch.float64, device=run.device),
            "visits": torch.zeros(run.samples, dtype=torch.int64, device=run.device),
        }

    def update(self, obs: BatchObs) -> None:
        """Replace the oldest difference; count the window that ends here once there are K visits."""
        last, ring = self.state["last"], self.state["ring"]
        average, visits = self.state["average"], self.state["visits"]
        # In float64, because the differences of a learned sample are tiny remainders of a sum to zero.
        now = obs.logits.double().log_softmax(1)
        before = visits[obs.index]
        # On a first visit this is a difference from nothing; K - 1 later ones have replaced it by the time
        # that the first window is full.
        ring[before % (self.window - 1), obs.index] = self.difference(now, last[obs.index].double()).float()
        last[obs.index] = now.float()
        visits[obs.index] = before + 1
        # Of all, full or not: to pick the full ones out, the host would have to wait for a GPU.
        spread = self.spread(ring[:, obs.index].double())
        old = average[obs.index]
        moved = self.decay * spread + (1 - self.decay) * old
        average[obs.index] = torch.where(before + 1 >= self.window, moved, old)

    def result(self) -> Tensor:
        """The moving average."""
        return torch.where(self.state["visits"] >= self.window, self.state["average"], float("nan"))


def tdds_change(
    window: int, decay: float, variant: Variant, epochs: frozenset[int] | None = None
) -> WindowChange:
    """What TDDS goes by: sums of squares of divergences as in the paper, or the forms of its authors' code.

    Args:
        window: K, visits of a window.
        decay: weight of the newest window.
        variant: `paper` or `authors`.
        epochs: what is watched; None for all.

    Raises:
        UsageError: a window of fewer than two differences, or a decay outside (0, 1].
    """
    if window < _LEAST:
        raise UsageError(
            f"tdds:window={window} is too short for two differences to compare; give {_LEAST} or more"
        )
    if not 0 < decay <= 1:
        raise UsageError(f"tdds:decay={decay} is not in (0, 1]; the newest window needs a weight")
    if variant == "authors":
        return WindowChange(absolute_change, root_of_squares, window, decay, epochs=epochs)
    return WindowChange(divergence, sum_of_squares, window, decay, epochs=epochs)
