"""What `dprune prune` was asked for, and what that comes to for the data that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.budget import Budget, allocate
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES, DataConfig, QueryConfig
from dprune_cli.core.errors import UsageError
from dprune_cli.core.progress import Progress
from dprune_cli.io.outputs import STDOUT, check_apart, check_output, inside, is_taken
from dprune_cli.io.remote import parse_place
from dprune_cli.io.samples import Samples
from dprune_cli.io.sources import STDIN
from dprune_cli.metrics.coverage import count_strata
from dprune_cli.stages import inputs
from dprune_cli.stages.plan import RunPlan, make_scores, plan_runs
from dprune_cli.stages.prune_holdout import hold_out
from dprune_cli.stages.prune_method import LOSS, PruneMethod
from dprune_cli.stages.prune_settings import Settings, choose_settings
from dprune_cli.stages.score import check_scores
from dprune_cli.stages.score_request import ScoreRequest
from dprune_cli.stages.select import SelectOutputs

# The table of all samples, in the folder that is written.
KEPT = "kept.parquet"
# Watching it is free in any training, and it tells which labels are suspect.
WATCHED = "aum"
QUERY, SCORES = "query", "scores"


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """The options of `dprune prune`.

    Attributes:
        data: DATA as typed.
        out: the folder to write.
        keep: what is kept.
        method: how samples are chosen.
        val: DATA that validates the query model; empty to hold out a tenth.
        minimum: samples promised to every class; None for one each, where there are quotas that allow it.
        query: what was given of the query model.
        reading: how DATA is read.
        shard_samples, shard_bytes: where shards end.
        reuse: take the scores of an earlier command, if it had the same data and options.
        force: replace what is in the folder.
    """

    data: Sequence[str]
    out: str
    keep: Budget
    method: PruneMethod
    val: Sequence[str] = ()
    minimum: int | None = None
    query: QueryConfig = field(default_factory=QueryConfig)
    reading: DataConfig = field(default_factory=DataConfig)
    shard_samples: int = SHARD_SAMPLES
    shard_bytes: int = SHARD_BYTES
    reuse: bool = True
    force: bool = False

    def verify(self) -> None:
        """`UsageError` for what cannot be, before any work is done."""
        if ranks.size() > 1:
            raise UsageError(
                "prune runs in one process; start its stages (score, evaluate, quota, select) with several"
            )
        if not self.data:
            raise UsageError("name the DATA to prune")
        if self.out == STDOUT:
            raise UsageError("prune writes a folder; name one with -o, not -")
        if STDIN in self.val:
            raise UsageError("--val - would read standard input, which is read only once; name files")
        if self.query.runs < 1:
            raise UsageError(f"--runs {self.query.runs}: at least one run is needed")
        if self.method.by == LOSS and not self.val:
            raise UsageError(
                f"--method {self.method.text} ranks by loss, which is higher for the tenth that is held out: "
                "give --val DATA, so that nothing is"
            )
        if self.minimum is not None and self.minimum < 0:
            raise UsageError(f"--min-per-class {self.minimum} is negative")
        if self.minimum and self.method.quota is None:
            raise UsageError(
                f"--min-per-class goes with quotas, and --method {self.method.text} has none; "
                f"try --method drop:score={self.method.by}"
            )
        if self.shard_samples < 1 or self.shard_bytes < 1:
            raise UsageError("--shard-samples and --shard-bytes must be at least 1")
        target = check_output(self.out, force=self.force, folder=True)
        if is_taken(target) and not (target / KEPT).is_file():
            raise UsageError(
                f"{self.out} is no folder that prune wrote, so --force does not replace it; name another"
            )
        check_apart(self.out, [*self.data, *self.val])
        for source in self.data:
            if inside(self.out, source) is not None:
                raise UsageError(
                    f"{self.out} is inside {source}, and would be part of it; name another output"
                )


@dataclass(frozen=True)
class Training:
    """A training of the query model.

    Attributes:
        name: `query` for the model that is validated, `scores` for one that only scores.
        request: what `score` is asked for.
        plans: its runs.
        held: (N,) rows that it does not see.
    """

    name: str
    request: ScoreRequest
    plans: Sequence[RunPlan]
    held: NDArray[np.bool_]

    @property
    def epochs(self) -> int:
        """Epochs of all its runs."""
        return sum(plan.last_epoch for plan in self.plans)


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        request: what was asked for.
        samples: the data.
        validation: what was given to validate the query model; None if a part of the data does so.
        device: where models are trained.
        settings: how.
        held: (N,) rows held out to validate the query model; none with validation data.
        kept: samples to keep.
        minimum: samples promised to every class.
        quota: quota method with its parameters; None for no quotas.
        trainings: of the query model, the one that is validated first.
    """

    request: PruneRequest
    samples: Samples
    validation: Samples | None
    device: torch.device
    settings: Settings
    held: NDArray[np.bool_]
    kept: int
    minimum: int
    quota: str | None
    trainings: Sequence[Training]

    @property
    def measured(self) -> int:
        """Samples on which the query model is measured after every epoch."""
        return int((self.held if self.validation is None else self.validation.ok()).sum())

    @property
    def validated(self) -> bool:
        """Whether anything validates the query model."""
        return self.validation is not None or bool(self.held.any())

    def told(self) -> dict[str, Any]:
        """The options that the table's metadata tell, with what was chosen."""
        request, training = self.request, self.settings.training
        return {
            "method": request.method.text,
            "keep": request.keep.text,
            "val": list(request.val) or None,
            "min_per_class": self.minimum,
            "model": training.model,
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "lr": training.lr,
            "image_size": self.settings.image_size,
            "runs": request.query.runs,
            "max_errors": request.reading.max_errors,
            "seed": training.seed,
        }

    def as_json(self) -> dict[str, Any]:
        """The plan as users read it with `--dry-run --json`."""
        return {
            "output": self.request.out,
            "samples": int(self.samples.ok().sum()),
            "classes": len(self.samples.classes),
            "kept": self.kept,
            "measured": self.measured,
            "trainings": [
                {"name": one.name, "scores": list(one.request.methods), "epochs": one.epochs}
                for one in self.trainings
            ],
            **self.told(),
        }

    @property
    def is_folder(self) -> bool:
        """Whether the data are image files, and not shards; the output is of the same form."""
        return bool((self.samples.offset[self.samples.ok()] < 0).all())

    @property
    def outputs(self) -> SelectOutputs:
        """Where the kept samples go."""
        request = self.request
        return SelectOutputs(
            shards=None if self.is_folder else request.out,
            folder=parse_place(request.out) if self.is_folder else None,
            # A stream is not where it was typed.
            data=[str(self.samples.base)] if STDIN in request.data else request.data,
            shard_samples=request.shard_samples,
            shard_bytes=request.shard_bytes,
            seed=request.query.seed,
            force=request.force,
        )


def plan_job(request: PruneRequest, progress: Progress) -> Job:
    """Index DATA and choose what was not given.

    Raises:
        UsageError: options that contradict one another.
        DataError: no usable sample, one class only, data that a score cannot use.
        BudgetError: more is to be kept than there is, or less than is promised to the classes.
    """
    request.verify()
    samples = inputs.load_samples(request.data, request.reading, force=request.force, progress=progress)
    inputs.need_some(samples)
    inputs.need_two_classes(samples)
    _need_one_kind(samples)
    ok = samples.ok()
    kept = request.keep.count(int(np.count_nonzero(ok)))
    minimum = _promised(request, count_strata(samples.label, len(samples.classes), ok), kept)
    validation = None
    if request.val:
        # The spool keeps the stream of DATA.
        reading = replace(request.reading, spool=None)
        validation = inputs.load_samples(request.val, reading, samples.classes, progress=progress)
    device = inputs.pick_device(request.query.device)
    settings = choose_settings(samples, request.query, request.reading, device)
    nobody = np.zeros(len(samples), bool)
    held = nobody if request.val else hold_out(samples, request.query.seed)
    return Job(
        request=request,
        samples=samples,
        validation=validation,
        device=device,
        settings=settings,
        held=held,
        kept=kept,
        minimum=minimum,
        quota=_quota(request, held, progress),
        trainings=_trainings(request, samples, settings, held),
    )


def _need_one_kind(samples: Samples) -> None:
    files = int(np.count_nonzero(samples.offset[samples.ok()] < 0))
    if 0 < files < np.count_nonzero(samples.ok()):
        raise UsageError(f"{samples.source}: holds both image files and shards; prune each kind by itself")


def _promised(request: PruneRequest, available: NDArray[np.int64], kept: int) -> int:
    """Samples promised to every class; `BudgetError` for more than `kept` samples allow."""
    if request.minimum is None:
        return int(request.method.quota is not None and kept >= np.count_nonzero(available))
    allocate(available, available, kept, request.minimum)
    return request.minimum


def _quota(request: PruneRequest, held: NDArray[np.bool_], progress: Progress) -> str | None:
    """The quota method, or one that needs no validation data where there can be none."""
    rule = request.method.rule
    if rule is not None and rule.needs_validation and not request.val and not held.any():
        progress.warn(
            "no class has five samples, so none can be held out to validate the query model, and all "
            "classes keep the same share; --val DATA would tell which are hard"
        )
        return "uniform"
    return request.method.quota


def _trainings(
    request: PruneRequest, samples: Samples, settings: Settings, held: NDArray[np.bool_]
) -> list[Training]:
    """One training that serves all, or one that is validated and one that scores all samples alike."""
    scores = request.method.scores

    def training(name: str, methods: Sequence[str], held: NDArray[np.bool_]) -> Training:
        return _training(request, samples, settings, name, methods, held)

    if not held.any():
        return [training(QUERY, _with_watched(scores), held)]
    query = training(QUERY, (WATCHED,), held)
    return [query, training(SCORES, scores, np.zeros_like(held))] if scores else [query]


def _with_watched(scores: Sequence[str]) -> tuple[str, ...]:
    names = [score.partition(":")[0] for score in scores]
    return (*scores, *(() if WATCHED in names else (WATCHED,)))


def _training(
    request: PruneRequest,
    samples: Samples,
    settings: Settings,
    name: str,
    methods: Sequence[str],
    held: NDArray[np.bool_],
) -> Training:
    asked = ScoreRequest(
        data=request.data,
        methods=methods,
        reading=settings.reading,
        training=settings.training,
        runs=request.query.runs,
        val=request.val,
    )
    scores = make_scores(methods)
    plans = plan_runs(scores, asked.training.epochs, asked.runs, whole_first=name == QUERY)
    check_scores(scores, plans, inputs.run_info(samples, asked.training, 0, torch.device("cpu")), asked)
    if not any(plan.watches_validation for plan in plans):
        # Its accuracy is measured here, with its predictions.
        asked = replace(asked, val=())
    return Training(name, asked, plans, held)
