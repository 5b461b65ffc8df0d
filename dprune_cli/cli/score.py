"""`dprune score`."""

from __future__ import annotations

from typing import Annotated

import typer

from dprune_cli.cli.completion import methods_of
from dprune_cli.cli.console import Terminal, percent
from dprune_cli.cli.options import Data, Force, Recipe, TableOut, Talk, Val, expand
from dprune_cli.core.config import DataConfig, TrainConfig


@expand
def command(
    data: Data = None,
    *,
    method: Annotated[
        list[str],
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="NAME[:param=value,...]; may be repeated.",
            autocompletion=methods_of("score"),
        ),
    ],
    output: TableOut = "-",
    runs: Annotated[int | None, typer.Option(help="Runs to average over; default each method's own.")] = None,
    val: Val = None,
    save_model: Annotated[
        str | None, typer.Option(metavar="RUN", help="Keep the query model of the first run.")
    ] = None,
    record_trajectory: Annotated[str | None, typer.Option(metavar="FILE", help="Write all logits.")] = None,
    from_trajectory: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read logits instead of training.")
    ] = None,
    record_features: Annotated[str | None, typer.Option(metavar="FILE", help="Write features.")] = None,
    from_features: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read features instead of training.")
    ] = None,
    record_val_features: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write features of the validation data.")
    ] = None,
    from_val_features: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read features of validation data, for glister.")
    ] = None,
    grad_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory for the gradients of grand.")
    ] = "2GB",
    check: Annotated[
        bool, typer.Option(metavar="", help="Decode every image, to find the broken ones.")
    ] = True,
    recipe: Recipe = None,
    force: Force = False,
    reading: DataConfig,
    training: TrainConfig,
    talk: Talk,
) -> None:
    """Score every sample of DATA by one or several methods, from one training pass a run."""
    from dprune_cli.io.outputs import check_distinct
    from dprune_cli.io.remote import parse_place
    from dprune_cli.io.resume_dir import resume_folder
    from dprune_cli.io.table import check_table_output, write_table
    from dprune_cli.stages.inputs import check_errors, report_bad
    from dprune_cli.stages.score import score
    from dprune_cli.stages.score_request import ScoreRequest

    terminal = Terminal(talk)
    check_distinct(
        output=output,
        save_model=save_model,
        record_trajectory=record_trajectory,
        record_features=record_features,
        record_val_features=record_val_features,
    )
    check_table_output(output, force=force)
    with resume_folder(output) as state:
        request = ScoreRequest(
            data=data or [],
            methods=method,
            reading=reading,
            training=training,
            runs=runs,
            val=val or [],
            save_model=parse_place(save_model),
            record_trajectory=parse_place(record_trajectory),
            from_trajectory=parse_place(from_trajectory),
            record_features=parse_place(record_features),
            from_features=parse_place(from_features),
            record_val_features=parse_place(record_val_features),
            from_val_features=parse_place(from_val_features),
            grad_memory=grad_memory,
            check=check,
            state=state,
            force=force,
        )
        result = score(request, terminal)
        write_table(result.table, output, force=force)
    if result.validation is not None:
        found = result.validation
        name = result.table.meta.classes[found.worst_id]
        terminal.note(
            f"query model on {' '.join(request.val)}: accuracy {percent(found.accuracy)}, "
            f"worst class {percent(found.worst_class)} ({name})"
        )
    names = ", ".join(result.table.meta.scores)
    terminal.note(f"scored {int(result.table.ok().sum())} of {len(result.table)} samples: {names}")
    if result.samples is not None:
        report_bad(result.samples, terminal)
        check_errors(result.samples, reading.max_errors)
