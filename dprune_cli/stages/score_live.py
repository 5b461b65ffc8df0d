"""Scores from training: one pass a run feeds every score that was asked for."""

from __future__ import annotations

import copy
import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dprune_cli.core import ranks
from dprune_cli.core.progress import Progress
from dprune_cli.core.seeds import derive
from dprune_cli.data.batch import Images
from dprune_cli.data.memory import parse_memory
from dprune_cli.io.outputs import whole_folder
from dprune_cli.io.parts import whole_recording
from dprune_cli.io.remote import Place
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.io.trajectory import TrajectoryParts
from dprune_cli.metrics.classification import Summary
from dprune_cli.scores.base import Score, Sequel
from dprune_cli.stages import inputs
from dprune_cli.stages.evaluate import accuracy, load_validation
from dprune_cli.stages.plan import RunPlan
from dprune_cli.stages.run_folder import describe_run, write_run
from dprune_cli.stages.score_request import Outcomes, ScoreRequest, compute
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.loop import Fit
from dprune_cli.train.observe import Phase
from dprune_cli.train.recording import FeatureLog, LogitsLog


@dataclass(frozen=True)
class Trained:
    """What training gave: the scores' outcomes, and run 0's model with its history and accuracy."""

    outcomes: Outcomes
    model: nn.Module
    history: list[dict[str, Any]]
    validation: Summary | None

    def save(
        self,
        request: ScoreRequest,
        samples: Samples,
        table: ScoreTable,
        image_size: int,
        device: torch.device,
    ) -> None:
        """Keep the query model where `--save-model` says, if it does."""
        if request.save_model is None:
            return
        config = describe_run(request.training, request.data, samples, image_size, device)
        with whole_folder(request.save_model, force=request.force) as part:
            write_run(part, config, self.model, self.history, table)


def score_live(
    request: ScoreRequest,
    plans: Sequence[RunPlan],
    samples: Samples,
    images: Images,
    progress: Progress,
    measured: Labelled | None = None,
) -> Trained:
    """Train the runs of `plans` and compute what their recorders saw.

    Args:
        request: what was asked for.
        plans: the runs.
        samples: all samples; those that cannot be used have a status that says so.
        images: their pixels.
        progress: told about every epoch.
        measured: rows on which run 0's model is measured after every epoch, for its history; None for none.
    """
    device, classes = images.device, len(samples.classes)
    data = inputs.labelled(samples, images)
    info = inputs.run_info(samples, request.training, request.training.epochs, device)
    seen: dict[Score, list[dict[str, Tensor]]] = defaultdict(list)
    # Opened before hours of training, not after them: there may be no such data.
    val = load_validation(request.val, request.reading, samples, images, progress) if request.val else None
    request.claim_state(samples, val[0] if val else None)
    validation = inputs.labelled(*val) if val else None
    if val:
        info = dataclasses.replace(info, validation=len(val[0]))
    for one in plans[0].needs:
        one.check(info)  # again, now that it is known which samples can be decoded
    first: tuple[nn.Module, list[dict[str, Any]]] | None = None
    with _recordings(request, samples, val[0] if val else None, classes) as (parts, logs):
        for plan in plans:
            if len(plans) > 1:
                progress.note(f"run {plan.number + 1} of {len(plans)}")
            model = inputs.make_model(request.training, classes, images.size, plan.number, device, progress)
            more = _logits_logs(parts, plan, request.training.epochs)
            fit = Fit(
                model=model,
                data=data,
                config=request.training,
                info=info,
                progress=progress,
                run=plan.number,
                recorders=[*plan.recorders, *more, *(logs if plan.number == 0 else [])],
                validation=validation if measured is None else measured,
                validate=measured is not None and plan.number == 0,
                grad_memory=parse_memory(request.grad_memory, "--grad-memory"),
                snapshots=frozenset(sequel.start for sequel in plan.sequels.values()),
                state_file=request.state_file(f"run-{plan.number}"),
            )
            fit.train(plan.last_epoch)
            for one, watched in plan.needs.items():
                recorded = {name: recorder.result() for name, recorder in watched.items() if ranks.is_main()}
                if one in plan.sequels:
                    file = request.state_file(f"run-{plan.number}-{one.info.name}")
                    recorded["learned"] = _train_on(fit, plan.sequels[one], one.info.name, file)
                seen[one].append(recorded)
            first = first or (model, fit.history)
    if first is None:
        raise RuntimeError("there was no run to train")
    summary = accuracy(first[0], *val, request.training.amp, progress) if val else None
    # Now that the recordings are whole: a score that cannot be computed must not cost them.
    outcomes = {
        one: [compute(one, info, recorded) for recorded in runs if ranks.is_main()]
        for one, runs in progress.track(seen.items(), len(seen), "compute", unit="scores")
    }
    return Trained(outcomes, *first, summary)


@contextmanager
def _recordings(
    request: ScoreRequest, samples: Samples, val: Samples | None, classes: int
) -> Iterator[tuple[TrajectoryParts | None, list[Recorder]]]:
    """Where logits of all runs go, and recorders of the first run's features; they are whole in the end."""
    epochs = request.training.epochs
    with ExitStack() as stack:

        def begin(path: Place, name: str) -> Path:
            folder = None if request.state is None else request.state / name
            return stack.enter_context(whole_recording(path, force=request.force, folder=folder))

        parts, logs = None, list[Recorder]()
        if request.record_trajectory is not None:
            parts = TrajectoryParts(begin(request.record_trajectory, "trajectory"), classes)
        if request.record_features is not None:
            folder = begin(request.record_features, "features")
            logs.append(FeatureLog(folder, epochs, groups=samples.named_groups()))
        if request.record_val_features is not None and val is not None:
            folder = begin(request.record_val_features, "val_features")
            logs.append(FeatureLog(folder, epochs, Phase.VALIDATION, val.keys, val.named_groups()))
        yield parts, logs


def _logits_logs(parts: TrajectoryParts | None, plan: RunPlan, epochs: int) -> list[Recorder]:
    """Recorders of the training visits, and of the clean passes that the scores watch (else of the last)."""
    if parts is None:
        return []
    probes = [one for one in plan.recorders if one.phase is Phase.PROBE]
    watched = frozenset[int]().union(*(one.epochs or range(1, epochs + 1) for one in probes)) | {epochs}
    return [LogitsLog(parts, Phase.TRAIN, plan.number), LogitsLog(parts, Phase.PROBE, plan.number, watched)]


def _train_on(fit: Fit, sequel: Sequel, name: str, state_file: Path | None) -> Tensor:
    """(N,) what a score learned from training a copy of a run's model."""
    model = copy.deepcopy(fit.model)
    model.load_state_dict(fit.kept[sequel.start])
    # A stream of its own: otherwise the order of its epochs would be that of the run's.
    seed = derive(fit.config.seed, "sequel", name)
    config = dataclasses.replace(fit.config, epochs=sequel.epochs, seed=seed)
    fit.progress.note(f"{name}: {sequel.epochs} epochs on a copy of the model after epoch {sequel.start}")
    info = dataclasses.replace(fit.info, epochs=sequel.epochs)
    follow = Fit(
        model=model,
        data=fit.data,
        config=config,
        info=info,
        progress=fit.progress,
        run=fit.run,
        weighter=sequel.learner,
        state_file=state_file,
    )
    follow.train()
    return sequel.learner.result()
