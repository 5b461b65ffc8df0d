"""Importance-aware training as the authors of TDDS coded it: one weight a batch.

Zhang, Du, Li, Xie, Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, https://arxiv.org/abs/2311.13613; the authors' code, not eq. 13.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from dprune_cli.core.info import MethodInfo
from dprune_cli.train.observe import BatchObs, RunInfo
from dprune_cli.weighters.base import register


@register
@dataclass(kw_only=True)
class BatchMean:
    """The batch loss is mean(w) * mean(l): every sample of a batch gets the batch's mean weight.

    So the weights change the length of a step, not its direction. Departs from the paper, whose eq. 13
    weighs every sample by its own score (what `train` does with weights and no weighter). Departs from
    the authors' code too: there w are the scores min-max normalised over the full set, here they are
    the table's weights, which `select --weight-by` scales to mean 1 over the kept samples, so that the
    learning rate means the same with and without them.
    """

    info = MethodInfo(name="batch_mean", title="Batch-mean weights", paper="https://arxiv.org/abs/2311.13613")
    needs: ClassVar[str] = "a table with weights (select --weight-by)"
    needs_validation: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = True
    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def start(self, run: RunInfo) -> None:
        """Nothing to remember."""

    def coef(self, obs: BatchObs, weight: Tensor) -> Tensor:
        """(B,) times mean(weight) / B.

        >>> import torch
        >>> BatchMean().coef(None, torch.tensor([0.5, 1.5, 4.0, 2.0])).tolist()
        [0.5, 0.5, 0.5, 0.5]
        """
        return (weight.mean() / len(weight)).expand_as(weight)

    def end_epoch(self, epoch: int, class_recall: Tensor) -> None:
        """Nothing to change."""
