"""`dprune prune`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprune_cli.cli.completion import methods_of
from dprune_cli.cli.console import Terminal, percent, print_json
from dprune_cli.cli.options import Data, Force, Json, Recipe, Talk, Val, expand
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES, DataConfig, QueryConfig
from dprune_cli.core.errors import UsageError

if TYPE_CHECKING:
    from dprune_cli.io.tar_plan import Shard
    from dprune_cli.stages.prune import Pruned
    from dprune_cli.stages.prune_job import Job
    from dprune_cli.stages.prune_trial import Estimate

REPORT = "report.html"
_NAMED = 5


@expand
def command(
    data: Data = None,
    *,
    keep: Annotated[str, typer.Option(metavar="B", help="What is kept: 0.3, 30% or 5000.")],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="OUT", help="The folder to write; it has the form of DATA."),
    ],
    method: Annotated[
        str,
        typer.Option(
            "-m",
            "--method",
            metavar="NAME[:param=value,...]",
            help="drop (fair quotas, random within them), drop:score=tdds (the best within them), a score "
            "such as el2n or tdds (the best of all), ccs, or another quota method.",
            autocompletion=methods_of("quota", "score", more={"ccs": "Coverage-centric coreset selection"}),
        ),
    ] = "drop",
    val: Val = None,
    min_per_class: Annotated[
        int | None, typer.Option(help="Samples promised to every class; default one, where quotas allow it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Time a few batches and say what would be done.")
    ] = False,
    report: Annotated[
        bool | None,
        typer.Option(
            "--report/--no-report", metavar="", help="Write OUT/report.html; default if matplotlib is there."
        ),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", metavar="", help="Describe OUT for the hub, Croissant and timm.")
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(metavar="", help="Take the scores of an earlier command on the same data."),
    ] = True,
    shard_samples: Annotated[int, typer.Option(help="Most samples in a shard.")] = SHARD_SAMPLES,
    shard_bytes: Annotated[int, typer.Option(help="Most bytes of a shard.")] = SHARD_BYTES,
    recipe: Recipe = None,
    force: Force = False,
    json: Json = False,
    reading: DataConfig,
    query: QueryConfig,
    talk: Talk,
) -> None:
    """Make DATA smaller in one line: score, evaluate, quota, select, with defaults, and a report."""
    from dprune_cli.core.budget import parse_budget
    from dprune_cli.report.cards.write import write_cards
    from dprune_cli.report.page import write_report
    from dprune_cli.report.prune_report import prune_report
    from dprune_cli.stages.inputs import check_errors, report_bad
    from dprune_cli.stages.prune import prune, write
    from dprune_cli.stages.prune_job import PruneRequest, plan_job
    from dprune_cli.stages.prune_method import parse_method
    from dprune_cli.stages.prune_store import is_known
    from dprune_cli.stages.prune_trial import Estimate, estimate

    terminal = Terminal(talk)
    request = PruneRequest(
        data=data or [],
        out=output,
        keep=parse_budget(keep),
        method=parse_method(method),
        val=val or [],
        minimum=min_per_class,
        query=query,
        reading=reading,
        shard_samples=shard_samples,
        shard_bytes=shard_bytes,
        reuse=reuse,
        force=force,
    )
    job = plan_job(request, terminal)
    wanted = report is not False and _can_report(output, terminal, asked=bool(report))
    for line in _plan(job):
        terminal.note(line)
    if dry_run:
        found = Estimate.of_known(job) if is_known(job) else estimate(job, terminal)
        beside = [*([REPORT] if wanted else []), *(["cards"] if card else [])]
        for line in _cost(job, found, beside):
            terminal.note(line)
        if json:
            print_json({**job.as_json(), **found.as_json()})
        return
    pruned = prune(job, terminal)

    def describe(folder: Path, shards: Sequence[Shard] | None) -> None:
        if wanted:
            write_report(prune_report(pruned), folder / REPORT)
        if card:
            write_cards(folder, shards, found=pruned.selection, progress=terminal)

    write(pruned, terminal, describe)
    _summarise(pruned, terminal)
    if wanted:
        terminal.note(f"look at {output}/{REPORT}")
    if json:
        print_json(pruned.as_json())
    report_bad(pruned.samples, terminal)
    check_errors(pruned.samples, reading.max_errors)


def _can_report(output: str, terminal: Terminal, *, asked: bool) -> bool:
    """Whether a report can be made; an error if it was asked for and cannot."""
    from dprune_cli.io.remote import parse_place
    from dprune_cli.report.page import check_report

    try:
        check_report(parse_place(output) / REPORT, force=True)
    except UsageError as error:
        if asked:
            raise
        terminal.warn(f"no report will be written: {error}")
        return False
    return True


def _plan(job: Job) -> list[str]:
    """What will be done, in a few lines."""
    samples, training, size = job.samples, job.settings.training, job.settings.image_size
    count = int(samples.ok().sum())
    validated = " ".join(job.request.val) or f"{int(job.held.sum())} samples held out"
    lines = [
        f"{samples.source}: {count} samples of {len(samples.classes)} classes, {job.kept} "
        f"({percent(job.kept / count)}) to keep by {job.request.method.text}",
        f"query model: {training.model}, images of {size} pixels, {training.epochs} epochs, batches of "
        f"{training.batch_size}",
        "to choose otherwise: --model, --image-size, --epochs, --batch-size",
    ]
    if job.validated:
        lines.append(f"validated on {validated}")
    if len(job.trainings) > 1:
        lines.append("trained twice: scores need a model that saw all samples (--val DATA saves one)")
    return lines


def _cost(job: Job, found: Estimate, beside: Sequence[str]) -> list[str]:
    """What it would take, and what would be written: the samples, the tables and what else is asked for."""
    from dprune_cli.data.memory import write_memory
    from dprune_cli.stages.prune_job import KEPT
    from dprune_cli.stages.prune_scores import VALIDATION

    shape = "images as class/image, linked where possible" if job.is_folder else "shards"
    files = [KEPT, *([VALIDATION] if job.validated else []), *beside]
    takes = (
        f"would take about {_duration(found.decode + found.train)} ({_duration(found.decode)} to decode, "
        f"{_duration(found.train)} to train) and {write_memory(found.memory)} of memory"
    )
    return [
        "scores of an earlier command would be taken: nothing would be trained" if found.known else takes,
        f"would write {job.request.out}: {job.kept} samples, about {write_memory(found.output)} ({shape}), "
        f"with {', '.join(files)}",
    ]


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(0.2), _duration(75), _duration(400), _duration(9000)
    ('1 s', '75 s', '7 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _summarise(pruned: Pruned, terminal: Terminal) -> None:
    """What was kept of every class, how well the query model knows them, and where things are."""
    from dprune_cli.stages.prune_job import KEPT

    left, out = pruned.selection.classes, pruned.job.request.out
    coverage = left.coverage
    recall = [None] * len(left.names) if pruned.recall is None else pruned.recall.recall.tolist()
    numbers = (coverage.available.tolist(), coverage.kept.tolist(), coverage.density.tolist(), recall)
    rows = [
        (name, str(available), str(kept), percent(density), percent(known))
        for name, available, kept, density, known in zip(left.names, *numbers, strict=True)
    ]
    worst = ("recall", recall) if pruned.recall is not None else ("density", coverage.density.tolist())
    terminal.rows("kept", ("class", "available", "kept", "density", "recall"), rows, worst)
    if coverage.empty and pruned.job.quota is None:  # of quotas it was said already
        some = ", ".join(left.names[number] for number in coverage.empty[:_NAMED])
        terminal.warn(f"nothing is kept of {len(coverage.empty)} classes, such as {some}")
    terminal.note(f"kept {coverage.kept.sum()} of {coverage.available.sum()} samples: {out}")
    if (found := pruned.recall) is not None:
        best = max((value, -number) for number, value in enumerate(recall) if value == value)
        terminal.note(
            f"recall of the query model: worst {percent(found.worst_class)} ({left.names[found.worst_id]}), "
            f"best {percent(best[0])} ({left.names[-best[1]]})"
        )
    terminal.note(f"scores, quotas and reasons: {out}/{KEPT}")
    terminal.note(f"train on it: dprune train {shlex.quote(out)} -o RUN")
