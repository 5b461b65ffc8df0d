"""`dprune train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dprune_cli.cli.console import Terminal, percent, print_json
from dprune_cli.cli.options import Data, Force, Json, Recipe, Talk, Val, expand
from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import UsageError


@expand
def command(
    data: Data = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The run folder to write.")],
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Train on the samples this table keeps.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:param=value,...]",
            help="Visit a part of DATA every epoch: rcap, rs2, infobatch, ... (dprune methods sampler).",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="B", help="What an epoch of --sampler visits on average: 0.3, 30% or 5000."),
    ] = None,
    weighter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Weigh losses: cdb_w (needs --val), batch_mean (weights in --table)."
        ),
    ] = None,
    val: Val = None,
    stretch: Annotated[
        Literal["none", "iterations", "drop"],
        typer.Option(help="Longer schedules for pruned data: epochs / d, or (0.5 + 0.5 d) / d of them."),
    ] = "none",
    recipe: Recipe = None,
    force: Force = False,
    json: Json = False,
    reading: DataConfig,
    training: TrainConfig,
    talk: Talk,
) -> None:
    """Train a model on DATA, or on what a table keeps of it; an interrupted run goes on where it stopped."""
    from dprune_cli.io.outputs import check_apart
    from dprune_cli.io.table import read_table
    from dprune_cli.stages.inputs import check_errors, report_bad
    from dprune_cli.stages.train import TrainRequest
    from dprune_cli.stages.train import train as train_model

    terminal = Terminal(talk)
    if not data:
        raise UsageError("name the DATA to train on")
    if table == "-" and "-" in data:
        raise UsageError("DATA and --table cannot both come from standard input")
    check_apart(output, [*data, *(val or [])])
    request = TrainRequest(
        data=data,
        out=output,
        reading=reading,
        training=training,
        table=read_table(table) if table is not None else None,
        sampler=sampler,
        keep=keep,
        weighter=weighter,
        val=val or [],
        stretch=stretch,
        force=force,
    )
    result = train_model(request, terminal)
    found = result.summary
    terminal.note(
        f"trained on {found['samples']} samples for {found['epochs']} epochs "
        f"in {found['seconds']:.1f} s: {output}"
    )
    if sampler is not None:
        terminal.note(
            f"an epoch visited {found['visited']:.0f} samples ({percent(found['visited_fraction'])}) in "
            f"{found['epoch_seconds']:.2f} s; all of them would have taken about "
            f"{found['full_epoch_seconds']:.2f} s, {found['speedup']:.1f} times as long"
        )
    if "val_accuracy" in found:
        terminal.note(
            f"validation accuracy {percent(found['val_accuracy'])}, "
            f"worst class {percent(found['val_worst_class'])}"
        )
    if json:
        print_json(found)
    report_bad(result.samples, terminal)
    check_errors(result.samples, reading.max_errors)
