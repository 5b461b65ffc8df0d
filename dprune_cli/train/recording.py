"""Recorders that write what they see to files: `--record-trajectory` and `--record-features`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dprune_cli.io.features import write_features
from dprune_cli.io.trajectory import Pass, TrajectoryWriter
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, embedding_of


class LogitsLog:
    """Appends the logits of every batch of one phase to a trajectory file."""

    fields = frozenset({Field.LOGITS})

    def __init__(
        self, writer: TrajectoryWriter, phase: Phase, run: int, epochs: frozenset[int] | None = None
    ) -> None:
        self.writer = writer
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
        keys = [self.keys[row] for row in obs.index.tolist()]
        self.writer.write(keys, obs.target.cpu().numpy(), at, obs.logits.cpu().numpy())

    def result(self) -> Tensor:
        """Nothing: it is in the file."""
        return torch.empty(0)


class FeatureLog:
    """Collects embeddings and logits of the clean pass after one epoch; `write` saves them.

    For the phase `VALIDATION` it has to be told the keys of the validation samples. `groups` are the names
    of the groups of all samples of the phase, as `Samples.named_groups` gives them.
    """

    fields = frozenset({Field.EMBEDDING, Field.LOGITS})

    def __init__(
        self,
        epoch: int,
        phase: Phase = Phase.PROBE,
        validation_keys: Sequence[str] = (),
        groups: Sequence[str | None] | None = None,
    ) -> None:
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
        self._seen.append(tuple(part.cpu() for part in parts))

    def result(self) -> Tensor:
        """(n, D) embeddings, in the order seen."""
        return torch.cat([embedding for _, _, embedding, _ in self._seen])

    def write(self, path: Path) -> None:
        """Save what was seen."""
        index, target, embedding, logits = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        rows = index.tolist()
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
