"""Scores from a recorded trajectory or recorded features, without a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Progress
from dprune_cli.io.features import Features, read_features
from dprune_cli.io.samples import Samples, recorded_samples
from dprune_cli.io.trajectory import Pass, Trajectory
from dprune_cli.scores.base import Score
from dprune_cli.stages.plan import Recording, check_recorded, plan_runs
from dprune_cli.stages.score_request import Outcomes, ScoreRequest, compute
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, Phase, RunInfo
from dprune_cli.train.replay import replay, replay_features


@dataclass(frozen=True)
class Recorded:
    """Outcomes of every score for N samples, and who they are.

    Attributes:
        outcomes: of every score and run, NaN for samples that the recording leaves out.
        samples: those of DATA, else of the recording.
        epochs: epochs recorded.
    """

    outcomes: Outcomes
    samples: Samples
    epochs: int


def score_recorded(
    request: ScoreRequest, scores: Sequence[Score], samples: Samples | None, progress: Progress
) -> Recorded:
    """Show a recording to the scores' recorders.

    Args:
        request: says which recording.
        scores: what is asked for.
        samples: DATA that the recording must match; None to take the recording's own keys.
        progress: told how far it is.

    Raises:
        DataError: the recording does not match DATA, or lacks what a score watches.
    """
    found = _Sources(request, samples)
    plans = plan_runs(scores, found.epochs, request.runs, at_most=len(found.runs))
    check_recorded(plans, found.recording())
    info = found.info(request.training.seed)
    for one in scores:
        one.check(info)
    outcomes: Outcomes = defaultdict(list)
    for plan in plans:
        found.show(plan.recorders, info, plan.number, progress)
        for score, watched in progress.track(plan.needs.items(), len(plan.needs), "compute", unit="scores"):
            recorded = {name: recorder.result() for name, recorder in watched.items()}
            outcomes[score].append(compute(score, info, recorded))
    return Recorded(dict(outcomes), found.recorded_samples() if samples is None else samples, found.epochs)


class _Sources:
    """The files of a recording, checked against one another and against DATA.

    Attributes:
        keys, labels: the recorded samples; of DATA the usable ones.
        classes: C.
        epochs: E; 1 for features of which it is not known.
        runs: numbers of the runs.
    """

    def __init__(self, request: ScoreRequest, samples: Samples | None) -> None:
        self.samples = samples
        self.rows = None if samples is None else np.flatnonzero(samples.ok())
        known = labels = None
        if samples is not None and self.rows is not None:
            known, labels = [samples.keys[row] for row in self.rows], samples.label[self.rows]
        self.trajectory = self.features = self.validation = None
        if request.from_trajectory is not None:
            self.trajectory = Trajectory(request.from_trajectory, known, labels)
            known, labels = self.trajectory.keys, self.trajectory.labels
        if request.from_features is not None:
            self.features = read_features(request.from_features, known, labels)
            known, labels = self.features.keys, self.features.labels
        if known is None or labels is None:
            raise RuntimeError("there is no recording to read")
        self.keys, self.labels = known, labels
        self.name = " and ".join(map(str, filter(None, (request.from_trajectory, request.from_features))))
        self.classes = self._count_classes()
        self.epochs = self._count_epochs()
        self.runs = self.trajectory.runs if self.trajectory else [0]
        if request.from_val_features is not None:
            self.validation = read_features(request.from_val_features)
            self._check_validation(str(request.from_val_features), self.validation)

    def recording(self) -> Recording:
        """What there is, for the check against what scores watch."""
        logits = set(self.trajectory.passes) if self.trajectory else set()
        embeddings = {Pass(self.runs[0], self.epochs, Phase.PROBE.value)} if self.features else set()
        with_logits = Field.LOGITS in _fields(self.features)
        if with_logits and not self.trajectory:
            logits = embeddings
        return Recording(
            self.name, self.epochs, self.runs, logits, embeddings, with_logits, _fields(self.validation)
        )

    def recorded_samples(self) -> Samples:
        """The recorded samples, where there is no DATA."""
        known = self.features
        names = known.classes if known and len(known.classes) == self.classes else None
        return recorded_samples(
            self.name,
            self.keys,
            self.labels,
            names or [str(number) for number in range(self.classes)],
            known.group if known else None,
            known.groups if known else (),
        )

    def info(self, seed: int) -> RunInfo:
        """The run as scores see it: over the rows of DATA, else over the recorded samples."""
        keys, labels = self.keys, self.labels
        if self.samples is not None:
            keys, labels = self.samples.keys, np.where(self.samples.ok(), self.samples.label, -1)
        target = torch.from_numpy(labels.astype(np.int64))
        count = len(self.validation.keys) if self.validation else 0
        names = self.samples.classes if self.samples else ()
        return RunInfo(keys, target, self.classes, self.epochs, seed, validation=count, class_names=names)

    def show(self, recorders: Sequence[Recorder], info: RunInfo, number: int, progress: Progress) -> None:
        """Show run `number` to recorders, each what it watches."""
        rows = np.arange(len(self.keys)) if self.rows is None else self.rows
        left = list(recorders)
        if self.validation is not None:
            theirs = [one for one in left if one.phase is Phase.VALIDATION]
            count = np.arange(len(self.validation.keys))
            replay_features(self.validation, count, theirs, info, Phase.VALIDATION)
            left = [one for one in left if one not in theirs]
        if self.features is not None:
            # With a trajectory beside it, that is the source of everything but embeddings.
            theirs = [one for one in left if self.trajectory is None or Field.EMBEDDING in one.fields]
            replay_features(self.features, rows, theirs, info)
            left = [one for one in left if one not in theirs]
        if self.trajectory is not None and left:
            run = self.runs[number]
            total = len(rows) * sum(one.run == run for one in self.trajectory.passes)
            read = self.trajectory.read(run)
            seen = progress.track(read, total, "replay", size=lambda batch: len(batch[1]))
            replay(((at, rows[part], logits) for at, part, logits in seen), left, info)

    def _count_classes(self) -> int:
        found = {
            *((self.trajectory.classes,) if self.trajectory else ()),
            *((self.features.logits.shape[1],) if self.features and self.features.logits is not None else ()),
        }
        known = len(self.samples.classes) if self.samples else None
        if len(found) > 1:
            raise DataError(f"{self.name}: they have logits of {min(found)} and of {max(found)} classes")
        if found and known is not None and found != {known}:
            raise DataError(
                f"the recording has logits of {found.pop()} classes, but {' '.join(self.samples.root)} has "  # type: ignore[union-attr]
                f"{known}"
            )
        return found.pop() if found else known or int(self.labels.max()) + 1

    def _count_epochs(self) -> int:
        known = self.features.epochs if self.features else None
        if self.trajectory is None:
            return known or 1
        if known not in (None, self.trajectory.epochs):
            raise DataError(
                f"{self.name}: the features are those after epoch {known}, the trajectory has "
                f"{self.trajectory.epochs} epochs"
            )
        return self.trajectory.epochs

    def _check_validation(self, source: str, validation: Features) -> None:
        if self.features is None:
            raise RuntimeError("validation features come with features")
        width = self.features.features.shape[1]
        if validation.features.shape[1] != width:
            raise DataError(f"{source}: its features are not of the length of those in {self.name}, {width}")
        if validation.logits is not None and validation.logits.shape[1] != self.classes:
            raise DataError(
                f"{source}: it has logits of {validation.logits.shape[1]} classes, not {self.classes}"
            )
        if int(validation.labels.max()) >= self.classes:
            raise DataError(f"{source}: label {validation.labels.max()} is none of {self.classes} classes")


def _fields(features: Features | None) -> frozenset[Field]:
    """What features hold."""
    if features is None:
        return frozenset()
    return frozenset({Field.EMBEDDING} | ({Field.LOGITS} if features.logits is not None else set()))
