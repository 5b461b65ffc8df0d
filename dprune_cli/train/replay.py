"""Recorders fed from a recording instead of a live run; scores cannot tell the difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dprune_cli.io.features import Features
from dprune_cli.io.trajectory import BOTH, Pass
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, observe

_BATCH = 8192


def replay(
    batches: Iterable[tuple[Pass, NDArray[np.int64], NDArray[np.float32]]],
    recorders: Sequence[Recorder],
    info: RunInfo,
) -> None:
    """Show recorded logits to recorders: batches of (pass, (n,) rows of `info`, (n, C) logits)."""
    for recorder in recorders:
        recorder.start(info)
    for at, rows, logits in batches:
        index = torch.from_numpy(rows)
        for phase in Phase:
            if at.phase in (phase.value, BOTH):
                obs = observe(phase, at.epoch, index, info.target[index], torch.from_numpy(logits))
                _show(obs, recorders)


def replay_features(
    features: Features,
    rows: NDArray[np.int64],
    recorders: Sequence[Recorder],
    info: RunInfo,
    phase: Phase = Phase.PROBE,
) -> None:
    """Show recorded features, which are the clean pass after the last epoch of a run.

    Args:
        features: of n samples; without logits, zeros stand in for those that read none.
        rows: (n,) their rows in `info`, or among the validation samples.
        recorders: watch clean passes only.
        info: of the run.
        phase: whether these are training or validation samples.
    """
    for recorder in recorders:
        recorder.start(info)
    logits = features.logits
    if logits is None:
        if any(Field.LOGITS in recorder.fields for recorder in recorders):
            raise ValueError("a recorder reads logits, and these features have none")
        logits = np.zeros((len(rows), info.classes), np.float32)
    target = torch.from_numpy(features.labels.astype(np.int64))
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        seen = (torch.from_numpy(values[part]) for values in (logits, features.features))
        obs = observe(phase, info.epochs, torch.from_numpy(rows[part]), target[part], *seen)
        _show(obs, recorders)


def _show(obs: BatchObs, recorders: Sequence[Recorder]) -> None:
    for recorder in recorders:
        if recorder.phase is obs.phase and (recorder.epochs is None or obs.epoch in recorder.epochs):
            recorder.update(obs)
