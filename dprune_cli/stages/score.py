"""`dprune score`: DATA to a score table, from one training pass a run or from a recording of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch

from dprune_cli.core import ranks
from dprune_cli.core.errors import UsageError
from dprune_cli.core.progress import Progress
from dprune_cli.core.registry import parameters
from dprune_cli.data.batch import Images
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.scores.base import Score
from dprune_cli.stages import inputs
from dprune_cli.stages.plan import RunPlan, make_scores, plan_runs
from dprune_cli.stages.run_folder import settings
from dprune_cli.stages.score_live import Trained, score_live
from dprune_cli.stages.score_recorded import score_recorded
from dprune_cli.stages.score_request import Outcome, Outcomes, ScoreRequest, ScoreResult, compute
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.observe import RunInfo


def score(request: ScoreRequest, progress: Progress) -> ScoreResult:
    """Score every sample by every method asked for.

    Raises:
        UsageError: a method or parameter that does not exist, a schedule too short, options that
            contradict one another; all before anything is trained.
        DataError: no usable sample, one class only, a recording that does not match.
    """
    scores = make_scores(request.methods)
    request.verify()
    if request.recording is not None:
        return _from_recording(request, scores, progress)
    plans = plan_runs(scores, request.training.epochs, request.runs, whole_first=request.wants_model)
    samples = inputs.load_samples(request.data, request.reading, force=request.force, progress=progress)
    inputs.need_two_classes(samples)
    check_scores(scores, plans, inputs.run_info(samples, request.training, 0, torch.device("cpu")), request)
    if any(plan.trains for plan in plans):
        return _from_training(request, plans, samples, progress)
    if request.check:
        samples = inputs.check_images(samples, request.reading, progress)
        inputs.need_two_classes(samples)
    info = inputs.run_info(samples, request.training, 0, torch.device("cpu"))
    return ScoreResult(_table(samples.table(), request, _from_nothing(plans, info), {}), samples)


def check_scores(
    scores: Sequence[Score], plans: Sequence[RunPlan], info: RunInfo, request: ScoreRequest
) -> None:
    """Refuse what scores cannot do with this data, before anything is trained.

    Raises:
        UsageError: a score looks at validation data, and there is none.
        DataError: the data has no meaning for a score.
    """
    for plan in plans:
        for name in plan.watches_validation:
            if not request.val:
                raise UsageError(f"{name} looks at validation data; give --val DATA")
    for one in scores:
        one.check(info)


def _from_nothing(plans: Sequence[RunPlan], info: RunInfo) -> Outcomes:
    return {one: [compute(one, info, {})] for plan in plans for one in plan.needs}


def _from_training(
    request: ScoreRequest, plans: Sequence[RunPlan], samples: Samples, progress: Progress
) -> ScoreResult:
    device = inputs.pick_device(request.training.device)
    samples, images = inputs.load_images(samples, request.reading, device, progress)
    inputs.need_two_classes(samples)
    table, trained = score_opened(request, plans, samples, images, progress)
    if ranks.is_main():
        trained.save(request, samples, table, images.size, device)
    return ScoreResult(table, samples, trained.validation)


def score_opened(
    request: ScoreRequest,
    plans: Sequence[RunPlan],
    samples: Samples,
    images: Images,
    progress: Progress,
    measured: Labelled | None = None,
) -> tuple[ScoreTable, Trained]:
    """Train on opened images, and score the samples that can be used; see `score_live`.

    Returns:
        The table, of several processes in the first one alone, and what training gave.
    """
    trained = score_live(request, plans, samples, images, progress, measured)
    facts = {
        "model": inputs.model_name(request.training, images.device),
        "epochs": request.training.epochs,
        "image_size": images.size,
        "training": {name: value for name, value in settings(request.training).items() if value is not None},
    }
    if not ranks.is_main():
        return samples.table(), trained
    return _table(samples.table(), request, trained.outcomes, facts), trained


def _from_recording(request: ScoreRequest, scores: Sequence[Score], progress: Progress) -> ScoreResult:
    samples = (
        inputs.load_samples(request.data, request.reading, force=request.force, progress=progress)
        if request.data
        else None
    )
    if samples is not None:
        inputs.need_some(samples)
        if request.check:
            # A recording leaves out the samples that could not be decoded when it was made.
            samples = inputs.check_images(samples, request.reading, progress)
    if not ranks.is_main():
        return ScoreResult(ScoreTable(pa.table({}), TableMeta()), samples)
    recorded = score_recorded(request, scores, samples, progress)
    facts = {
        "recording": str(request.recording),
        "recordings": request.read_from(),
        "epochs": recorded.epochs,
    }
    table = recorded.samples.table()
    return ScoreResult(_table(table, request, recorded.outcomes, facts), samples)


def _table(table: ScoreTable, request: ScoreRequest, outcomes: Outcomes, facts: dict[str, Any]) -> ScoreTable:
    """Add one float32 column a score, null where it is undefined or the sample cannot be used."""
    ok = torch.from_numpy(table.ok())
    about = dict(table.meta.scores)
    for one, runs in outcomes.items():
        mean = torch.stack([run.values.double().cpu() for run in runs]).mean(0)
        known = (ok & mean.isfinite()).numpy()
        table = table.with_columns(
            **{one.info.name: pa.array(mean.float().numpy(), pa.float32(), mask=~known)}
        )
        about[one.info.name] = _about(one, len(runs), request, facts) | _by_run(runs)
    meta = dataclasses.replace(table.meta, scores=about).with_step("score", **request.told(), **facts)
    return table.with_meta(meta)


def _by_run(runs: Sequence[Outcome]) -> dict[str, Any]:
    """What is to be said about a score's runs: of one run as it is, of several a list."""
    first = runs[0].facts
    return first if len(runs) == 1 else {name: [run.facts[name] for run in runs] for name in first}


def _about(one: Score, runs: int, request: ScoreRequest, facts: dict[str, Any]) -> dict[str, Any]:
    watched = {recorder.phase.value for recorder in one.recorders(facts.get("epochs", 1)).values()}
    facts = {name: facts[name] for name in ("model", "epochs", "recording") if name in facts}
    return {
        "method": one.info.name,
        "parameters": parameters(one),
        "paper": one.info.paper,
        "keep_first": one.info.keep_first,
        "hard_end": one.info.hard_end,
        "runs": runs,
        "seeds": [request.training.seed],
        "watches": sorted(watched),
        **facts,
    }
