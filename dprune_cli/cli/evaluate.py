"""`dprune evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from dprune_cli.cli.console import Terminal, percent, print_json, print_result, printable
from dprune_cli.cli.options import Force, FromFeatures, Json, Talk, expand
from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import UsageError


@expand
def command(
    paths: Annotated[
        list[str], typer.Argument(metavar="RUN... [DATA...]", help="Run folders, then the data.")
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="TABLE", help="Write the predictions; - is standard output."),
    ] = None,
    from_features: FromFeatures = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default the GPU if there is one.")] = None,
    json: Json = False,
    force: Force = False,
    reading: DataConfig,
    talk: Talk,
) -> None:
    """Measure trained models: accuracy, recall of every class, worst class, gap and spread."""
    from dprune_cli.io.remote import parse_place
    from dprune_cli.io.table import check_table_output, write_table
    from dprune_cli.stages.evaluate import EvaluateRequest, over_seeds, split_arguments
    from dprune_cli.stages.evaluate import evaluate as evaluate_runs
    from dprune_cli.stages.inputs import check_errors, report_bad

    terminal = Terminal(talk)
    runs, data = split_arguments(paths, need_data=from_features is None)
    if output is not None and len(runs) > 1:
        raise UsageError("-o holds the predictions of one run; evaluate the runs apart")
    if output == "-" and json:
        raise UsageError("standard output cannot take both the table and --json; give -o FILE")
    check_table_output(output, force=force)
    request = EvaluateRequest(
        runs=runs, data=data, reading=reading, from_features=parse_place(from_features), device=device
    )
    samples, found = evaluate_runs(request, terminal)
    if output is not None:
        write_table(found[0].table, output, force=force)
    if json:
        results = [one.as_json() for one in found]
        print_json(results[0] if len(results) == 1 else {"runs": results, "over_runs": over_seeds(found)})
    elif output != "-":
        for one in found:
            names = one.table.stratum_names("class")
            summary = one.summary
            print_result(
                f"{one.run}: accuracy {percent(summary.accuracy)}, "
                f"worst class {percent(summary.worst_class)} ({printable(names[summary.worst_id])}), "
                f"gap {percent(summary.gap)}, std {percent(summary.std)}"
                + (f", worst group {percent(one.as_json()['worst_group'])}" if one.groups is not None else "")
            )
        if len(found) > 1:
            for figure, spread in over_seeds(found).items():
                values = ", ".join(f"{name} {percent(value)}" for name, value in spread.items())
                print_result(f"{figure} over {len(found)} runs: {values}")
    if len(found) == 1:
        recalls = found[0].as_json()["recall"]
        # The lowest first, because a long table is cut and the worst classes are what matters.
        order = sorted(recalls, key=lambda name: (recalls[name] is None, recalls[name] or 0.0))
        terminal.rows("recall", ("class", "recall"), [(name, percent(recalls[name])) for name in order])
    report_bad(samples, terminal)
    check_errors(samples, reading.max_errors)
