"""What a run needs to go on from after an epoch, gathered from those who have it, and given back to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dprune_cli.core import ranks
from dprune_cli.train.checkpoint import load_state, save_state


class Stateful(Protocol):
    """A recorder, sampler or weighter: all that it remembers is in its state."""

    state: dict[str, Tensor]


@dataclass
class RunState:
    """The resume state of one run; the first process writes it, and all go on from it.

    Attributes:
        path: where it is kept; None for nowhere.
        model, optimizer: of the run.
        hooks: recorders, weighter and sampler, always in the same order.
        history: rows of `Fit.train`.
        kept: the model's state by epoch, as `Fit.kept`.
    """

    path: Path | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    hooks: Iterable[Stateful]
    history: list[dict[str, Any]]
    kept: dict[int, dict[str, Tensor]]

    def save(self, epoch: int) -> None:
        """Replace what was kept by the state after an epoch."""
        if self.path is None or not ranks.is_main():
            return
        state = {
            "epoch": epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "hooks": self._named(),
            "history": self.history,
            "kept": self.kept,
        }
        save_state(self.path, state)

    def restore(self) -> int:
        """Go on from what was kept; the last finished epoch, 0 for a fresh start."""
        if self.path is None:
            return 0
        # One process reads, so that all go on from the same state even if they share no disk.
        state = ranks.broadcast(load_state(self.path) if ranks.is_main() else None)
        if state is None:
            return 0
        device = next(self.model.parameters()).device
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, tensors in self._named().items():
            for key, value in state["hooks"][name].items():
                tensors[key] = value.to(tensors[key].device if key in tensors else device)
        self.history[:] = state["history"]
        self.kept.update(state["kept"])
        return int(state["epoch"])

    def _named(self) -> dict[str, dict[str, Tensor]]:
        return {f"{number}:{type(hook).__name__}": hook.state for number, hook in enumerate(self.hooks)}
