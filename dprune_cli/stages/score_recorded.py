"""Scores from a recorded trajectory or recorded features, without a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.features import read_features
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import DICTIONARY, OK, ScoreTable, TableMeta
from dprune_cli.io.trajectory import Pass, Trajectory
from dprune_cli.scores.base import Score
from dprune_cli.stages.plan import RunPlan, check_recorded, plan_runs
from dprune_cli.stages.score_request import ScoreRequest, Values
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, Phase, RunInfo
from dprune_cli.train.replay import replay, replay_features


@dataclass(frozen=True)
class Recorded:
    """Values of every score for N samples, and who they are.

    Attributes:
        values: (N,) a run and score, NaN for samples that the recording leaves out.
        keys, labels: the samples of the recording; only where there is no DATA.
        classes: C.
        epochs: epochs recorded.
    """

    values: Values
    keys: list[str]
    labels: NDArray[np.int32]
    classes: int
    epochs: int

    def table(self) -> ScoreTable:
        """A score table without DATA: nothing is known of shards and offsets."""
        count = len(self.keys)
        data = pa.table(
            {
                "key": pa.array(self.keys, pa.string()),
                "label": pa.array(self.labels, pa.int32()),
                "shard": pa.nulls(count, DICTIONARY),
                "offset": pa.nulls(count, pa.int64()),
                "size": pa.nulls(count, pa.int64()),
                "status": pa.array([OK] * count, pa.string()).dictionary_encode().cast(DICTIONARY),
            }
        )
        return ScoreTable(data, TableMeta(classes=[str(number) for number in range(self.classes)]))


def score_recorded(request: ScoreRequest, scores: Sequence[Score], samples: Samples | None) -> Recorded:
    """Show a recording to the scores' recorders.

    Args:
        request: says which recording.
        scores: what is asked for.
        samples: DATA that the recording must match; None to take the recording's own keys.

    Raises:
        DataError: the recording does not match DATA, or lacks what a score watches.
    """
    place = _Place(samples)
    if request.from_trajectory is not None:
        return _from_trajectory(request.from_trajectory, request, scores, place)
    if request.from_features is not None:
        return _from_features(request.from_features, request, scores, place)
    raise RuntimeError("there is no recording to read")


class _Place:
    """Where recorded samples stand in the table: the usable rows of DATA, or simply all of them."""

    def __init__(self, samples: Samples | None) -> None:
        self.samples = samples
        self.rows = None if samples is None else np.flatnonzero(samples.ok())
        self.known = (
            None if samples is None or self.rows is None else [samples.keys[row] for row in self.rows]
        )
        self.labels = None if samples is None else samples.label[self.rows]

    def info(
        self, keys: list[str], labels: NDArray[np.int32], classes: int, epochs: int, seed: int
    ) -> tuple[RunInfo, NDArray[np.int64]]:
        """The run as scores see it, and the table row of every recorded sample.

        Raises:
            DataError: DATA has another number of classes.
        """
        if self.samples is not None and len(self.samples.classes) != classes:
            raise DataError(
                f"the recording has logits of {classes} classes, but {' '.join(self.samples.root)} has "
                f"{len(self.samples.classes)}"
            )
        if self.samples is None or self.rows is None:
            return RunInfo(keys, torch.from_numpy(labels.astype(np.int64)), classes, epochs, seed), np.arange(
                len(keys)
            )
        target = torch.from_numpy(self.samples.label.astype(np.int64))
        return RunInfo(self.samples.keys, target, classes, epochs, seed), self.rows


def _from_trajectory(path: Path, request: ScoreRequest, scores: Sequence[Score], place: _Place) -> Recorded:
    trajectory = Trajectory(path, place.known, place.labels)
    plans = plan_runs(scores, trajectory.epochs, request.runs, at_most=len(trajectory.runs))
    check_recorded(plans, trajectory.passes, trajectory.epochs, str(path))
    info, rows = place.info(
        trajectory.keys, trajectory.labels, trajectory.classes, trajectory.epochs, request.training.seed
    )
    values: Values = defaultdict(list)
    for plan in plans:
        batches = (
            (at, rows[part], logits) for at, part, logits in trajectory.read(trajectory.runs[plan.number])
        )
        replay(batches, plan.recorders, info)
        _collect(plan, info, values)
    return Recorded(dict(values), trajectory.keys, trajectory.labels, trajectory.classes, trajectory.epochs)


def _from_features(path: Path, request: ScoreRequest, scores: Sequence[Score], place: _Place) -> Recorded:
    features = read_features(path, place.known, place.labels)
    if features.logits is not None:
        classes = features.logits.shape[1]
    else:
        classes = int(features.labels.max()) + 1 if place.samples is None else len(place.samples.classes)
    plans = plan_runs(scores, 1, 1)
    _check_features(plans, has_logits=features.logits is not None, source=str(path))
    info, rows = place.info(features.keys, features.labels, classes, 1, request.training.seed)
    values: Values = defaultdict(list)
    for plan in plans:
        replay_features(features, rows, plan.recorders, info)
        _collect(plan, info, values)
    return Recorded(dict(values), features.keys, features.labels, classes, 1)


def _check_features(plans: Sequence[RunPlan], *, has_logits: bool, source: str) -> None:
    for plan in plans:
        check_recorded([plan], [Pass(0, 1, Phase.PROBE.value)], 1, source)
        for score, watched in plan.needs.items():
            if not has_logits and any(_reads_logits(recorder) for recorder in watched.values()):
                raise DataError(f"{score.info.name} needs logits, and {source} has no column 'logits'")


def _reads_logits(recorder: Recorder) -> bool:
    return Field.EMBEDDING not in recorder.fields


def _collect(plan: RunPlan, info: RunInfo, values: Values) -> None:
    for score, watched in plan.needs.items():
        recorded = {name: recorder.result() for name, recorder in watched.items()}
        values[score].append(score.compute(info, **recorded))
