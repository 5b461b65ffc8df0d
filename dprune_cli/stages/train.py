"""`dprune train`: a model on all of DATA or of recorded features, or on what a selection kept of them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from dprune_cli.core import ranks
from dprune_cli.core.budget import parse_budget, round_half_up
from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.progress import Progress
from dprune_cli.io.outputs import part_path
from dprune_cli.io.run_dir import CONFIG, RESUME, RunConfig, file_digest, read_config
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.stages import inputs
from dprune_cli.stages.kept_rows import find_kept
from dprune_cli.stages.run_folder import check_run_output, run_output, write_run
from dprune_cli.stages.train_features import FeatureSource
from dprune_cli.stages.train_images import ImageSource
from dprune_cli.stages.train_request import Source, TrainRequest
from dprune_cli.stages.train_sampler import make_sampler, summarise_visits
from dprune_cli.stages.visit_columns import describe_visits
from dprune_cli.train.loop import Fit
from dprune_cli.train.recorders import VisitLog
from dprune_cli.weighters.base import WEIGHTERS


@dataclass(frozen=True)
class TrainResult:
    """What a run gave.

    Attributes:
        samples: what it was trained on.
        summary: what `dprune train --json` prints.
        history: a row an epoch.
        config: the `config.json` of the run.
        table: what it was trained on, with `visits` and `loss`; of several processes only the first has it.
    """

    samples: Samples
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    config: RunConfig
    table: ScoreTable | None


def train(request: TrainRequest, progress: Progress) -> TrainResult:
    """Train and write the run folder; continue where an interrupted command with the same options stopped.

    Raises:
        UsageError: an output that exists, options that contradict one another, an unfinished run with
            other options.
        BudgetError: the sampler cannot meet the budget.
        DataError: no usable sample, one class only, a table that does not fit DATA.
    """
    request.verify()
    weighter = WEIGHTERS.make(request.weighter) if request.weighter else None
    if weighter is not None and weighter.needs_validation and not request.validated:
        raise UsageError(
            f"--weighter {request.weighter} goes by recall on validation data; give --val DATA, or "
            "--from-val-features FILE with --from-features"
        )
    sampler = make_sampler(
        request.sampler,
        request.keep,
        validated=request.validated,
        stretched=request.stretch != "none",
    )
    check_run_output(request.out, force=request.force)
    with run_output(request.out, force=request.force) as folder:
        device = inputs.pick_device(request.training.device)
        source = _open_source(request, device, progress)
        samples = source.index()
        samples, weight = kept(request.table, samples)
        if weighter is not None and weighter.needs_weights and weight is None:
            raise UsageError(
                f"--weighter {request.weighter} goes by weights; give --table with some (select --weight-by)"
            )
        inputs.need_two_classes(samples)
        config, visits = _schedule(request, int(samples.ok().sum()))
        if sampler is not None:
            # What cannot be is refused before anything is decoded.
            sampler.prepare(inputs.run_info(samples, config, config.epochs, device), visits)
        samples, fed = source.open(samples)
        inputs.need_two_classes(samples)
        config, visits = _schedule(request, int(samples.ok().sum()))
        run = source.describe(config, samples)
        validation = source.validation(samples)
        options = _options(request, samples, weight, validation[0] if validation else None)
        run = dataclasses.replace(run, data={**run.data, **options})
        if ranks.is_main():
            _begin(folder, run, request)
        info = inputs.run_info(samples, config, config.epochs, device)
        log = VisitLog()
        fit = Fit(
            model=source.make_model(config, len(samples.classes)),
            data=inputs.labelled(samples, fed, weight),
            config=config,
            info=info if validation is None else inputs.with_validation(info, validation[0]),
            progress=progress,
            recorders=[log],
            sampler=sampler,
            visits=visits,
            weighter=weighter,
            validation=None if validation is None else inputs.labelled(*validation),
            state_file=folder / RESUME,
        )
        fit.train()
        table = None
        if ranks.is_main():
            table = _trained_on(request, dataclasses.replace(config, model=run.model), samples, log)
            write_run(folder, run, fit.model, fit.history, table)
    summary = _summary(request, config, samples, fit.history)
    return TrainResult(samples, summary, fit.history, run, table)


def _open_source(request: TrainRequest, device: torch.device, progress: Progress) -> Source:
    """What the model is trained on."""
    if request.from_features is not None:
        return FeatureSource(request, request.from_features, device, progress)
    return ImageSource(request, device, progress)


def kept(table: ScoreTable | None, samples: Samples) -> tuple[Samples, torch.Tensor | None]:
    """The samples to train on, and their weights if the table has any.

    Without a table these are all samples of DATA. With one they are those whose key it keeps, or all of
    its keys if nothing was selected yet; the others are neither read nor decoded.

    Raises:
        DataError: a kept key is not in DATA, or a weight is negative, infinite or missing.
    """
    if table is None:
        return samples, None
    keep, rows = find_kept(table, samples)
    order = np.argsort(rows)
    if "weight" not in table:
        return samples.take(rows[order]), None
    weight = table.numbers("weight")[keep]
    if not ((weight >= 0) & np.isfinite(weight)).all():
        raise DataError(f"{table.source}: column 'weight' holds a negative, infinite or missing weight")
    return samples.take(rows[order]), torch.from_numpy(weight[order]).float()


def _schedule(request: TrainRequest, count: int) -> tuple[TrainConfig, int | None]:
    """The settings, and the samples of `count` that an epoch visits on average; None without `--keep`."""
    visits = None if request.keep is None else parse_budget(request.keep).count(count)
    density = keep_fraction(request.table, count) * (1 if visits is None else Fraction(visits, count))
    return stretched(request, density), visits


def stretched(request: TrainRequest, density: Fraction) -> TrainConfig:
    """The training settings with the schedule that `--stretch` asks for.

    `none`: as many epochs as without pruning (TDDS, Strategy-E). `iterations`: epochs / d, as many steps
    (Strategy-P). `drop`: epochs * (0.5 + 0.5 d) / d, as DRoP's code has it.

    Args:
        request: says which.
        density: d, the share of all samples that an epoch visits.
    """
    epochs = request.training.epochs
    if request.stretch == "iterations":
        epochs = round_half_up(epochs / density)
    elif request.stretch == "drop":
        epochs = math.floor(epochs * (1 + density) / (2 * density))
    return dataclasses.replace(request.training, epochs=epochs)


def keep_fraction(table: ScoreTable | None, count: int) -> Fraction:
    """`count` kept samples as a fraction of those that could be kept; 1 without a table."""
    return Fraction(1) if table is None else Fraction(count, int(table.ok().sum()))


def _options(
    request: TrainRequest, samples: Samples, weight: torch.Tensor | None, validation: Samples | None
) -> dict[str, Any]:
    """What else the run depends on; the fingerprints tell tables that keep equally many samples apart."""
    return {
        "val": list(request.val),
        "sampler": request.sampler,
        "keep": request.keep,
        "weighter": request.weighter,
        "stretch": request.stretch,
        "init": None if request.training.init is None else file_digest(request.training.init),
        "fingerprint": samples.table().meta.fingerprint,
        "rows": samples.digest(),
        "validation": None if validation is None else validation.digest(),
        "weights": None if weight is None else hashlib.sha256(weight.numpy().tobytes()).hexdigest(),
    }


def _begin(folder: Path, run: RunConfig, request: TrainRequest) -> None:
    """Start an empty folder, or check that what was interrupted there is the same run."""
    if not (folder / CONFIG).exists() or not (folder / RESUME).exists():
        run.write(folder)
        return
    found = read_config(folder)
    if found == run:
        return
    if not request.force:
        raise UsageError(
            f"{part_path(request.out)} holds an unfinished run with other options or data; repeat those to "
            "finish it, or give --force to start anew"
        )
    (folder / RESUME).unlink()
    run.write(folder)


def _trained_on(request: TrainRequest, config: TrainConfig, samples: Samples, log: VisitLog) -> ScoreTable:
    """The table it was trained on, with `visits`, the last `loss` and the `mean_loss` of every sample."""
    visits, loss, mean = log.result().cpu().numpy()
    table = request.table
    if table is None:
        table = samples.table()
        place = np.arange(len(samples))
    else:
        index = pc.index_in(table.data["key"], value_set=pa.array(samples.keys, pa.string()))
        place = np.asarray(pc.fill_null(index, -1).combine_chunks())
    # Without the status, a duplicate would seem to have been visited: it has the key of a usable sample.
    known = table.ok() & (place >= 0) & (visits[place] > 0)
    table = table.with_columns(
        visits=pa.array(np.where(known, visits[place], 0), pa.int32()),
        loss=pa.array(loss[place], pa.float32(), mask=~known),
        mean_loss=pa.array(mean[place], pa.float32(), mask=~known),
    )
    about = describe_visits(request.sampler, request.keep, config)
    meta = dataclasses.replace(table.meta, scores={**table.meta.scores, **about})
    return table.with_meta(
        meta.with_step("train", epochs=config.epochs, sampler=request.sampler, keep=request.keep)
    )


def _summary(
    request: TrainRequest, config: TrainConfig, samples: Samples, history: list[dict[str, Any]]
) -> dict[str, Any]:
    last = history[-1]
    summary: dict[str, Any] = {
        "run": str(request.out),
        "samples": int(samples.ok().sum()),
        "epochs": config.epochs,
        "seconds": sum(row["seconds"] for row in history),
        "loss": last["loss"],
    }
    if request.sampler is not None:
        summary |= summarise_visits(history, summary["samples"])
    validated = ("val_accuracy", "val_worst_class")
    return summary | {name: last[name] for name in validated if name in last}
