"""Recorders that write what they see to files: `--record-trajectory` and `--record-features`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dprune_cli.io.features import write_features
from dprune_cli.io.trajectory import Pass, TrajectoryWriter
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo


class LogitsLog:
    """Appends the logits of every batch of one phase to a trajectory file."""

    fields: frozenset[Field] = frozenset()

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
    """Collects embeddings and logits of the clean pass after one epoch; `write` saves them."""

    phase = Phase.PROBE
    fields = frozenset({Field.EMBEDDING})

    def __init__(self, epoch: int) -> None:
        self.epochs: frozenset[int] | None = frozenset({epoch})
        self.state: dict[str, Tensor] = {}

    def start(self, run: RunInfo) -> None:
        """Forget everything."""
        self.run = run
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, obs: BatchObs) -> None:
        """Keep a batch."""
        if obs.embedding is None:
            raise RuntimeError("the loop gave no embedding although FeatureLog asks for it")
        self._seen.append((obs.index.cpu(), obs.embedding.cpu(), obs.logits.cpu()))

    def result(self) -> Tensor:
        """(n, D) embeddings, in the order seen."""
        return torch.cat([embedding for _, embedding, _ in self._seen])

    def write(self, path: Path) -> None:
        """Save what was seen."""
        index = torch.cat([rows for rows, _, _ in self._seen])
        logits = torch.cat([logits for _, _, logits in self._seen])
        keys = [self.run.keys[row] for row in index.tolist()]
        labels = self.run.target.cpu()[index].numpy()
        write_features(path, keys, labels, self.result().numpy(), logits.numpy())
