"""`dprune prune`: the stages one after another, with defaults, for one folder.

What is to be done is planned in `prune_job.py`, trained in `prune_scores.py`, kept for other budgets in
`prune_store.py`, and timed beforehand in `prune_trial.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dprune_cli.core.progress import Progress
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable, write_table
from dprune_cli.io.table_view import TableView
from dprune_cli.io.tar_plan import Shard
from dprune_cli.metrics.classification import Summary, summarise
from dprune_cli.stages.output_contents import Describe
from dprune_cli.stages.prune_job import KEPT, Job
from dprune_cli.stages.prune_scores import VALIDATION, Scored
from dprune_cli.stages.prune_store import find_scores
from dprune_cli.stages.quota import QuotaRequest
from dprune_cli.stages.quota import quota as set_quotas
from dprune_cli.stages.select import Selection, SelectRequest
from dprune_cli.stages.select import select as select_samples
from dprune_cli.stages.select_kept import write_kept


@dataclass(frozen=True)
class Pruned:
    """What is kept, and what is known of the samples.

    Attributes:
        job: what was to be done.
        scored: scores and predictions.
        selection: what is kept.
        recall: of the query model on validation data; None without any.
    """

    job: Job
    scored: Scored
    selection: Selection
    recall: Summary | None

    @property
    def samples(self) -> Samples:
        """The samples, with what was found out about them."""
        status = np.array(self.scored.table.data["status"].to_pylist(), object)
        return dataclasses.replace(self.job.samples, status=status)

    def as_json(self) -> dict[str, Any]:
        """The summary as users read it with `--json`."""
        names = self.scored.table.meta.classes
        request = self.job.request
        found = {"output": request.out, "method": request.method.text, **self.selection.as_json()}
        if self.recall is not None:
            values = self.recall.recall
            found["recall"] = {
                name: None if np.isnan(value) else float(value)
                for name, value in zip(names, values, strict=True)
            }
            found["worst_class"] = names[self.recall.worst_id]
        return found


def prune(job: Job, progress: Progress) -> Pruned:
    """Score, set quotas and select; see `write` for what becomes of it.

    Raises:
        DataError: no usable sample, a class that quotas need is not in the validation data.
        BudgetError: the budget cannot be met.
    """
    request = job.request
    scored = find_scores(job, progress)
    table: TableView = scored.table
    if job.quota is not None:
        validation = [] if scored.validation is None else [_named(scored.validation)]
        quotas = QuotaRequest(
            method=job.quota,
            keep=request.keep,
            validation=validation,
            minimum=job.minimum,
            seed=request.query.seed,
        )
        table, _ = set_quotas(table, quotas, progress)
    selecting = SelectRequest(
        by=request.method.by,
        keep=request.keep if job.quota is None else None,
        pick=request.method.pick,
        seed=request.query.seed,
    )
    selection = select_samples(table, selecting, progress)
    table = selection.table.with_meta(selection.table.meta.with_step("prune", **job.told()))
    return Pruned(job, scored, dataclasses.replace(selection, table=table), _recall(scored))


def write(pruned: Pruned, progress: Progress, describe: Describe) -> list[Shard]:
    """Write the kept samples in the form in which they were found, and the tables with them.

    Args:
        pruned: says what.
        progress: told how far it is.
        describe: writes what else belongs into the folder, before that takes its place.

    Returns:
        The shards; none if it is a folder of images.

    Raises:
        DataError: a sample changed since it was scored.
    """

    def complete(folder: Path, shards: Sequence[Shard] | None) -> None:
        write_table(pruned.selection.table, str(folder / KEPT))
        if pruned.scored.validation is not None:
            write_table(pruned.scored.validation, str(folder / VALIDATION))
        describe(folder, shards)

    return write_kept(pruned.selection, pruned.job.outputs, progress=progress, describe=complete)


def _named(validation: ScoreTable) -> ScoreTable:
    """The predictions under the name that they will have."""
    return dataclasses.replace(validation, source=VALIDATION)


def _recall(scored: Scored) -> Summary | None:
    found = scored.validation
    if found is None:
        return None
    ok = found.ok()
    return summarise(found.integers("label")[ok], found.integers("pred")[ok], len(found.meta.classes))
