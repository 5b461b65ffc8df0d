"""CDB-W, class-wise difficulty as a loss weight.

Sinha, Ohashi, Nakamura, "Class-Difficulty Based Methods for Long-Tailed Visual Recognition", IJCV 2022,
https://arxiv.org/abs/2207.14499; a baseline of DRoP (https://arxiv.org/abs/2404.05579, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from dprune_cli.core.info import MethodInfo
from dprune_cli.train.observe import BatchObs, RunInfo
from dprune_cli.weighters.base import register


@register
@dataclass(kw_only=True)
class CdbW:
    """Weight of a class: w_k = 1 - recall_k, measured on the validation set after the previous epoch.

    The batch loss is the weighted mean sum_i w_{y_i} l_i / sum_i w_{y_i}. In the first epoch all weights
    are 1; a class without validation samples keeps weight 1. As DRoP states it; departs from Sinha et
    al., whose exponent tau is 1 here. Needs `--val`.
    """

    info = MethodInfo(
        name="cdb_w", title="Class-wise difficulty weights", paper="https://arxiv.org/abs/2207.14499"
    )
    needs: ClassVar[str] = "validation data (--val)"
    needs_validation: ClassVar[bool] = True
    needs_weights: ClassVar[bool] = False
    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def start(self, run: RunInfo) -> None:
        """All weights 1."""
        self.state = {"weight": torch.ones(run.classes, device=run.device)}

    def coef(self, obs: BatchObs, weight: Tensor) -> Tensor:
        """(B,) coefficients that sum to 1; plain means where the whole batch has weight 0."""
        own = self.state["weight"][obs.target] * weight
        total = own.sum()
        return torch.where(total > 0, own / total.clamp_min(1e-12), weight / len(weight))

    def end_epoch(self, epoch: int, class_recall: Tensor) -> None:
        """Weights for the next epoch."""
        self.state["weight"] = torch.nan_to_num(1 - class_recall.float(), nan=1.0)
