"""What is counted while an epoch's batches pass: visits and losses, in all and by class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dprune_cli.train.observe import BatchObs


class Tally:
    """Visits and sums of losses of C classes in one epoch; on the device until the epoch is over."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._visited = torch.zeros(classes, dtype=torch.int64, device=device)
        self._loss = torch.zeros(classes, dtype=torch.float64, device=device)

    def add(self, obs: BatchObs) -> None:
        """Count a batch."""
        ones: Tensor = torch.ones_like(obs.target)
        self._visited.index_add_(0, obs.target, ones)
        self._loss.index_add_(0, obs.target, obs.loss.double())

    def row(self) -> dict[str, Any]:
        """`visited`, `loss` (mean over visits), `class_visited` and `class_loss` (counts and sums)."""
        visited, loss = self._visited.tolist(), self._loss.tolist()
        mean = sum(loss) / sum(visited)
        return {"visited": sum(visited), "loss": mean, "class_visited": visited, "class_loss": loss}
