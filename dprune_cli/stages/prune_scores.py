"""The scores and predictions that `dprune prune` goes by, from one training of the query model or two.

One is enough with validation data, or where recalls alone are asked for. Without validation data a tenth is
held out from the query model, and a model that scores must have seen all samples in the same way; so then
the scores come from a second training, on all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprune_cli.core.progress import Progress
from dprune_cli.io.parquet_errors import reading
from dprune_cli.io.run_dir import HISTORY, history_table
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable, read_table, write_table
from dprune_cli.stages import inputs
from dprune_cli.stages.evaluate import as_evaluation, load_validation, predict
from dprune_cli.stages.prune_holdout import without
from dprune_cli.stages.prune_job import QUERY, Job, Training
from dprune_cli.stages.score import score_opened
from dprune_cli.stages.score_live import Trained

_SCORES, VALIDATION = "scores.parquet", "validation.parquet"


@dataclass(frozen=True)
class Scored:
    """What is known of the samples.

    Attributes:
        table: all samples with their scores, and `pred` and `loss` of the query model.
        validation: predictions of the validation data; None if there is none.
        history: one row an epoch of the query model's training.
    """

    table: ScoreTable
    validation: ScoreTable | None
    history: pa.Table

    def write(self, folder: Path) -> None:
        """Write what `read` reads."""
        write_table(self.table, str(folder / _SCORES))
        if self.validation is not None:
            write_table(self.validation, str(folder / VALIDATION))
        pq.write_table(self.history, folder / HISTORY)

    @classmethod
    def read(cls, folder: Path, *, validated: bool) -> Scored:
        """What an earlier command wrote, with validation data if they are expected.

        Raises:
            DataError: it is not there, or damaged.
        """
        with reading(str(folder / HISTORY)):
            history = pq.read_table(folder / HISTORY)
        return cls(
            read_table(str(folder / _SCORES)),
            read_table(str(folder / VALIDATION)) if validated else None,
            history,
        )


def train_scores(job: Job, states: Mapping[str, Path | None], progress: Progress) -> Scored:
    """Decode the data once, train, score and predict.

    Args:
        job: says what.
        states: where a training keeps its state, by its name.
        progress: told about every epoch.

    Raises:
        DataError: no usable sample, one class only, validation data of other classes.
    """
    samples, images = inputs.load_images(job.samples, job.settings.reading, job.device, progress)
    inputs.need_two_classes(samples)
    val = None
    if job.request.val:
        val = load_validation(job.request.val, job.settings.reading, samples, images, progress)
    held = np.flatnonzero(job.held & samples.ok())
    measured = inputs.labelled(*val) if val else None
    if measured is None and len(held):
        measured = dataclasses.replace(inputs.labelled(samples, images), rows=held)
    tables: dict[str, ScoreTable] = {}
    query: Trained | None = None
    for training in job.trainings:
        request = dataclasses.replace(training.request, state=states.get(training.name))
        seen = without(samples, training.held & samples.ok())
        progress.note(_told(training, int(np.count_nonzero(seen.ok()))))
        watched = measured if training.name == QUERY else None
        tables[training.name], trained = score_opened(
            request, training.plans, seen, images, progress, watched
        )
        query = query or trained
    if query is None:
        raise RuntimeError("there was nothing to train")
    amp = job.settings.training.amp
    predicted = predict(query.model, samples, images, amp, progress)
    table = _complete(samples, tables, as_evaluation(QUERY, samples, *predicted).table)
    validation = None
    if val is not None:
        validation = as_evaluation(QUERY, val[0], *predict(query.model, *val, amp, progress)).table
    elif len(held):
        pred, loss = predicted
        validation = as_evaluation(QUERY, samples.take(held), pred[held], loss[held]).table
    return Scored(table, validation, history_table(query.history))


def _told(training: Training, count: int) -> str:
    names = ", ".join(training.request.methods)
    return f"training on {count} samples for {training.epochs} epochs ({names})"


def _complete(samples: Samples, tables: Mapping[str, ScoreTable], predicted: ScoreTable) -> ScoreTable:
    """All samples with the columns of the last training first, and what only an earlier one has."""
    table = samples.table()
    scores: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    for trained in tables.values():
        steps += trained.meta.steps
        scores |= trained.meta.scores
        columns = {name: trained.data[name] for name in trained.meta.scores}
        table = table.with_columns(**columns)
    table = table.with_columns(pred=predicted.data["pred"], loss=predicted.data["loss"])
    meta = dataclasses.replace(table.meta, scores=scores, steps=[*steps, *predicted.meta.steps])
    return table.with_meta(meta)
