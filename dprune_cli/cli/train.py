"""`dprune train`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dprune_cli.cli.completion import methods_of
from dprune_cli.cli.console import Terminal, percent, print_json
from dprune_cli.cli.options import (
    FEATURES,
    Data,
    Force,
    FromFeatures,
    Json,
    Recipe,
    ReportOut,
    Talk,
    Val,
    expand,
)
from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import UsageError


@expand
def command(
    data: Data = None,
    *,
    output: Annotated[str, typer.Option("-o", "--output", metavar="RUN", help="The run folder to write.")],
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Train on the samples this table keeps.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:param=value,...]",
            help="Visit a part of DATA every epoch: rcap, rs2, infobatch, ... (dprune methods sampler).",
            autocompletion=methods_of("sampler"),
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="B", help="What an epoch of --sampler visits on average: 0.3, 30% or 5000."),
    ] = None,
    weighter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Weigh losses: cdb_w (needs --val), batch_mean (weights in --table).",
            autocompletion=methods_of("weighter"),
        ),
    ] = None,
    val: Val = None,
    from_features: FromFeatures = None,
    from_val_features: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Features of the validation data.", rich_help_panel=FEATURES),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHS",
            help="Hidden widths of the network on features, or none; default 512,256.",
            rich_help_panel=FEATURES,
        ),
    ] = None,
    stretch: Annotated[
        Literal["none", "iterations", "drop"],
        typer.Option(help="Longer schedules for pruned data: epochs / d, or (0.5 + 0.5 d) / d of them."),
    ] = "none",
    recipe: Recipe = None,
    report: ReportOut = None,
    force: Force = False,
    json: Json = False,
    reading: DataConfig,
    training: TrainConfig,
    talk: Talk,
) -> None:
    """Train on DATA or recorded features, or what a table keeps of them; an interrupted run goes on."""
    from dprune_cli.io.outputs import check_apart, check_distinct
    from dprune_cli.io.remote import parse_place
    from dprune_cli.io.table import read_table
    from dprune_cli.stages.inputs import check_errors, report_bad
    from dprune_cli.stages.train import train as train_model
    from dprune_cli.stages.train_request import TrainRequest

    terminal = Terminal(talk)
    if table == "-" and "-" in (data or []):
        raise UsageError("DATA and --table cannot both come from standard input")
    files = [path for path in (from_features, from_val_features) if path is not None]
    check_distinct(output=output, report=report)
    if report is not None:
        from dprune_cli.report.page import check_report

        check_report(report, force=force)
    check_apart(output, [*(data or []), *(val or []), *files])
    request = TrainRequest(
        data=data or [],
        out=parse_place(output),
        reading=reading,
        training=training,
        table=read_table(table) if table is not None else None,
        sampler=sampler,
        keep=keep,
        weighter=weighter,
        val=val or [],
        from_features=parse_place(from_features),
        from_val_features=parse_place(from_val_features),
        head=head,
        stretch=stretch,
        force=force,
    )
    result = train_model(request, terminal)
    if report is not None and result.table is not None:
        from dprune_cli.report.page import write_report
        from dprune_cli.report.train_report import train_report

        write_report(train_report(result.history, result.table, result.config), report, force=force)
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
