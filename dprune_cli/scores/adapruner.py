"""AdaPruner, a keep mask that is learned together with the model.

Yang, Yang, Guo, Shen, Zhao, "Not All Data Matters: An End-to-End Adaptive Dataset Pruning Framework for
Enhancing Model Performance and Efficiency", arXiv 2312.05599, 2023, https://arxiv.org/abs/2312.05599: with
a mask m in R^N, y = sigmoid(alpha m) and the losses l,

    L = (1/N) sum y_i l_i + (1/N) sum y_i (-log l_i) + lambda (mean y - c_r)^2,    lambda = s |r - c_r|,

where r is the share of m > 0 and c_r the share that is to be kept.

The rate of the mask. The authors' step on an entry, once an epoch, is lr / (1 - momentum) / batch size =
0.1 / 0.1 / 256 of the derivative of its own terms, so 0.78 in 200 epochs at their peak rate. Where m stays
1, alpha y (1 - y) averages 0.13 over the schedule, so this moves an easy sample (l = 0.001: l - log l =
6.9) by 0.7, about from 1 to the threshold; their weight decay does the rest. Without it, samples of l near
1, where l - log l has its minimum of 1, come that far at about five times the rate: 4 in all epochs
together, the default of `lr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dprune_cli.core.budget import round_half_up
from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores.base import Score, Sequel, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, RunInfo

ALPHA_START = 0.1
WITHIN = 0.02
_STEPS = 200  # of the mask in a whole schedule, at least: one for each of the authors' epochs
_EPS = 1e-5  # keeps the log of a loss of 0 finite; the authors' value
_LEAST = 1e-6  # what counts as above the threshold after rounding


def slope(mask: Tensor, loss: Tensor, alpha: float, keep: float, scale: float) -> Tensor:
    """(N,) N times the derivative of the objective L in the mask, lambda taken as a constant.

    alpha y (1 - y) (l - log(l + 1e-5) + 2 lambda (mean y - c_r)). The part of the losses is positive
    whatever they are, smallest at l = 1: it pushes every entry down, easy samples and hopeless ones most.

    >>> ones = torch.ones(4, dtype=torch.float64)
    >>> [round(value, 4) for value in slope(0 * ones, ones, 2.0, 0.5, 100.0).tolist()]
    [0.5, 0.5, 0.5, 0.5]
    """
    y = torch.sigmoid(alpha * mask)
    ratio = (mask > 0).double().mean()
    pull = loss - torch.log(loss + _EPS) + 2 * scale * (ratio - keep).abs() * (y.mean() - keep)
    return alpha * y * (1 - y) * pull


def lift(mask: Tensor, keep: float) -> Tensor:
    """() by how much all entries of the mask must be raised alike for a share of c_r to be above 0.

    >>> round(lift(torch.tensor([-3.0, -1.0, 0.5, -2.0]), 0.5).item(), 3)
    1.0
    >>> lift(torch.tensor([-3.0, 1.0, 0.5, 2.0]), 0.5).item()
    0.0
    """
    count = max(1, round_half_up(Fraction(repr(keep)) * len(mask)))
    last = mask.kthvalue(len(mask) - count + 1).values
    return (_LEAST - last).clamp_min(0)


@dataclass(kw_only=True)
class MaskLearner:
    """Weighs the loss of a sample by its y, and moves the mask after every epoch by the losses seen in it.

    All entries move at once, so what is learned of given losses depends neither on the order of the samples
    nor on the size of the batches. m starts as 1.

    Attributes:
        keep, lr, alpha_end, scale: see `AdaPruner`.
        state: the mask (N,), by how much it was raised in all, the last losses (N,), NaN where there are
            none, and the epoch they are of.
    """

    keep: float
    lr: float
    alpha_end: float
    scale: float
    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def start(self, run: RunInfo) -> None:
        """All samples are kept."""
        self.state = {
            "mask": torch.ones(run.samples, dtype=torch.float64, device=run.device),
            "raised": torch.zeros((), dtype=torch.float64, device=run.device),
            "loss": torch.full((run.samples,), float("nan"), dtype=torch.float64, device=run.device),
            # On the CPU, where it can be read without waiting for the device.
            "epoch": torch.zeros((), dtype=torch.int64),
        }
        self._steps = -(-_STEPS // run.epochs)
        self._last = run.epochs * self._steps - 1

    def alpha(self, step: int) -> float:
        """Alpha at a step 0 ... S - 1 of the mask: from 0.1 to `alpha_end` by equal parts."""
        return ALPHA_START + (self.alpha_end - ALPHA_START) * step / self._last

    def coef(self, obs: BatchObs, weight: Tensor) -> Tensor:
        """(B,) y w / B."""
        if obs.epoch != int(self.state["epoch"]):
            self.state["mask"], self.state["raised"] = self._learned()
            self.state["epoch"] = torch.tensor(obs.epoch)
        self.state["loss"][obs.index] = obs.loss.double()
        y = torch.sigmoid(self.alpha((obs.epoch - 1) * self._steps) * self.state["mask"][obs.index])
        return y.to(weight.dtype) * weight / len(weight)

    def end_epoch(self, epoch: int, class_recall: Tensor) -> None:
        """Validation data have no part in it."""

    def result(self) -> Tensor:
        """(2, N) the mask after the last epoch, and without what raised it; NaN for samples never seen."""
        mask, raised = self._learned()
        return torch.stack([mask, mask - raised]).where(self.state["loss"].isfinite(), float("nan"))

    def _learned(self) -> tuple[Tensor, Tensor]:
        """The mask moved by the losses of the last epoch, if there is one, and all that it was raised by."""
        epoch, mask, raised = int(self.state["epoch"]), self.state["mask"], self.state["raised"]
        seen = self.state["loss"].isfinite()
        if epoch == 0 or not bool(seen.any()):
            return mask, raised
        own, loss = mask[seen], self.state["loss"][seen]
        for step in range((epoch - 1) * self._steps, epoch * self._steps):
            own = own - self.lr / (self._last + 1) * slope(own, loss, self.alpha(step), self.keep, self.scale)
            more = lift(own, self.keep)
            own, raised = own + more, raised + more
        moved = mask.clone()
        moved[seen] = own
        return moved, raised


@register
@dataclass(frozen=True, kw_only=True)
class AdaPruner(Score):
    """A learned keep mask: m minimises mean(y (l - log l)) + lambda (mean y - c_r)^2, y = sigmoid(alpha m).

    The query model, as it was after `warmup` epochs on all data (default: its whole schedule), is copied and
    trained on for `epochs` epochs (default: as many again) with the losses l weighted by y. Meanwhile the
    mask, m = 1 at first, descends the gradient of the whole objective. alpha rises evenly from 0.1 to
    `alpha_end` (the paper's 5 for CIFAR; its 100 for Tiny ImageNet freezes most entries early, and the share
    may then stay above its target), lambda = `scale` |r - c_r|, c_r = `keep`.
    The score is m. The table's metadata say the share r of m > 0 that was reached, how far it is from c_r,
    whether that is within the paper's 2 points, and the share without what departure (2) added. `lr` is
    the rate of the mask over all epochs together, whatever their number and the size of the batches.

    Departs from the paper: (1) The mask moves between epochs, by 200 / `epochs` small steps (at least one)
    on the epoch's losses. (2) Where r would fall below c_r, all entries are raised alike until it does not.
    The paper's own term cannot hold it: l - log l is never below 1, so a mask can rest only where
    2 `scale` |r - c_r| (c_r - mean y) is 1 or more, for `scale` 100 and 2 points only if mean y lies 25
    points below c_r. (3) Unlike in the authors' code, entries belong to samples, the ratio is that of the
    whole mask, which has no momentum and no weight decay, and nothing is chosen by test accuracy.

    High is hard: what has a loss near 1 stays, and what the model finds easy goes first.

    Memory and time O(N) an epoch.
    """

    info = ScoreInfo(
        name="adapruner",
        title="Learned keep mask",
        paper="https://arxiv.org/abs/2312.05599",
        keep_first="high",
        hard_end="high",
    )
    keep: float = 0.9
    warmup: int | None = None
    epochs: int | None = None
    lr: float = 4.0
    alpha_end: float = 5.0
    scale: float = 100.0

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """Nothing of the query model's own training is watched."""
        if not 0 < self.keep < 1:
            raise UsageError(
                f"adapruner:keep={self.keep} is not between 0 and 1; it is the share that is kept"
            )
        if self.warmup is not None and not 0 <= self.warmup <= epochs:
            raise UsageError(f"adapruner:warmup={self.warmup} lies outside the schedule of {epochs} epochs")
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(
                f"adapruner:epochs={self.epochs} leaves no epoch to learn the mask in; give 1 or more"
            )
        for name, value in (("lr", self.lr), ("alpha_end", self.alpha_end)):
            if not 0 < value < float("inf"):
                raise UsageError(f"adapruner:{name}={value} must be positive and finite")
        if not 0 <= self.scale < float("inf"):
            raise UsageError(f"adapruner:scale={self.scale} must be finite and not negative")
        return {}

    def sequel(self, epochs: int) -> Sequel:
        """The joint training of the mask and a copy of the query model."""
        learner = MaskLearner(keep=self.keep, lr=self.lr, alpha_end=self.alpha_end, scale=self.scale)
        start = epochs if self.warmup is None else self.warmup
        return Sequel(start, epochs if self.epochs is None else self.epochs, learner)

    def compute(self, run: RunInfo, *, learned: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) the mask."""
        return learned[0]

    def facts(self, *, learned: Tensor) -> dict[str, Any]:  # type: ignore[override]
        """The share of m > 0 beside the target, and what it were had the mask not been raised."""
        known = learned[:, learned[0].isfinite()]
        if not known.numel():
            return {"target": self.keep}
        ratio, alone = (known > 0).double().mean(1).tolist()
        distance = abs(ratio - self.keep)
        return {
            "target": self.keep,
            "ratio": ratio,
            "distance": distance,
            "within_2_points": distance <= WITHIN + 1e-9,
            "ratio_not_raised": alone,
        }
