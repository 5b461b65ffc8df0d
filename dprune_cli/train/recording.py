"""Recorders that write what they see to files: `--record-trajectory` and `--record-features`.

All processes see every batch, and each writes its part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from dprune_cli.core import ranks
from dprune_cli.io.features import write_features
from dprune_cli.io.parts import whole_part
from dprune_cli.io.trajectory import Pass, TrajectoryParts
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, embedding_of


def own_share(values: Tensor) -> Tensor:
    """On the CPU, those of the (B, ...) values of a batch that this process writes."""
    return values[ranks.rank() :: ranks.size()].cpu()


class LogitsLog:
    """Appends the logits of every batch of one phase to the parts of a trajectory."""

    fields = frozenset({Field.LOGITS})
    everywhere: ClassVar[bool] = True

    def __init__(
        self, parts: TrajectoryParts, phase: Phase, run: int, epochs: frozenset[int] | None = None
    ) -> None:
        self.parts = parts
        self.phase = phase
        self.run = run
        self.epochs = epochs
        self.state: dict[str, Tensor] = {}

    def start(self, run: RunInfo) -> None:
        """Remember the keys."""
        self.keys = run.keys

    def update(self, obs: BatchObs) -> None:
        """Append a batch."""
        at = Pass(self.run, obs.epoch, obs.phase.value)
        index, target, logits = map(own_share, (obs.index, obs.target, obs.logits))
        keys = [self.keys[row] for row in index.tolist()]
        self.parts.write(keys, target.numpy(), at, logits.numpy())

    def settle(self, epoch: int) -> None:
        """Finish the part, and drop what an interrupted run wrote of later epochs."""
        self.parts.close()
        if ranks.is_main():
            self.parts.drop_after(self.run, epoch)

    def result(self) -> Tensor:
        """Nothing: it is in the files."""
        return torch.empty(0)


class FeatureLog:
    """Collects embeddings and logits of the clean pass after one epoch, and writes them to a part file.

    For the phase `VALIDATION` it has to be told the keys of the validation samples. `groups` are the names
    of the groups of all samples of the phase, as `Samples.named_groups` gives them.
    """

    fields = frozenset({Field.EMBEDDING, Field.LOGITS})
    everywhere: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        epoch: int,
        phase: Phase = Phase.PROBE,
        validation_keys: Sequence[str] = (),
        groups: Sequence[str | None] | None = None,
    ) -> None:
        self.folder = folder
        self.phase = phase
        self.validation_keys = validation_keys
        self.groups = groups
        self.epoch = epoch
        self.epochs: frozenset[int] | None = frozenset({epoch})
        self.state: dict[str, Tensor] = {}

    def start(self, run: RunInfo) -> None:
        """Forget everything."""
        self._seen: list[tuple[Tensor, ...]] = []
        self.keys = self.validation_keys if self.phase is Phase.VALIDATION else run.keys
        self.classes = run.class_names

    def update(self, obs: BatchObs) -> None:
        """Keep a batch."""
        parts = (obs.index, obs.target, embedding_of(obs), obs.logits)
        self._seen.append(tuple(map(own_share, parts)))

    def settle(self, epoch: int) -> None:
        """Write what was seen."""
        if epoch < self.epoch and ranks.is_main():
            # Of an interrupted run, perhaps of more processes than this one.
            for old in self.folder.iterdir():
                old.unlink()
        if not self._seen:
            return
        index, target, embedding, logits = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen = []
        rows = index.tolist()
        with whole_part(self.folder, f"{ranks.rank():04d}") as path:
            write_features(
                path,
                [self.keys[row] for row in rows],
                target.numpy(),
                embedding.numpy(),
                logits.numpy(),
                self.epoch,
                groups=None if self.groups is None else [self.groups[row] for row in rows],
                classes=self.classes,
            )

    def result(self) -> Tensor:
        """Nothing: it is in the files."""
        return torch.empty(0)
