"""`dprune evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dprune_cli.cli.console import Terminal, percent, print_json, print_result, printable
from dprune_cli.cli.options import Force, FromFeatures, Json, ReportOut, Talk, expand
from dprune_cli.core import ranks
from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import UsageError

if TYPE_CHECKING:
    from dprune_cli.stages.evaluate import Evaluation
    from dprune_cli.stages.geometry import GeometryRequest

_EMBEDDING = "Embedding"


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
    geometry: Annotated[
        bool,
        typer.Option(
            "--geometry",
            metavar="",
            help="Measure how classes lie in the embedding: Dunn index, distances, radius.",
            rich_help_panel=_EMBEDDING,
        ),
    ] = False,
    tsne: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Draw a t-SNE of the embedding as .png or .svg.",
            rich_help_panel=_EMBEDDING,
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="A selection of DATA: tell what it keeps from the rest.",
            rich_help_panel=_EMBEDDING,
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default the GPU if there is one.")] = None,
    report: ReportOut = None,
    json: Json = False,
    force: Force = False,
    reading: DataConfig,
    talk: Talk,
) -> None:
    """Measure trained models: accuracy, recall of every class, worst class, gap and spread."""
    from dprune_cli.io.outputs import check_distinct
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
    check_distinct(output=output, tsne=tsne, report=report)
    check_table_output(output, force=force)
    if report is not None:
        from dprune_cli.report.page import check_report

        check_report(report, force=force)
    request = EvaluateRequest(
        runs=runs,
        data=data,
        reading=reading,
        from_features=parse_place(from_features),
        device=device,
        geometry=_look_at(runs, data, geometry=geometry, tsne=tsne, table=table, force=force),
    )
    samples, found = evaluate_runs(request, terminal)
    if output is not None:
        write_table(found[0].table, output, force=force)
    if report is not None and ranks.is_main():
        from dprune_cli.report.evaluate_report import evaluate_report
        from dprune_cli.report.page import write_report

        write_report(evaluate_report(found), report, force=force)
    if tsne is not None and found[0].embedded is not None and found[0].embedded.plane is not None:
        from dprune_cli.report.tsne_plot import write_picture

        write_picture(found[0].embedded.plane, tsne, force=force)
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
            _print_geometry(one)
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


def _look_at(
    runs: list[str], data: list[str], *, geometry: bool, tsne: str | None, table: str | None, force: bool
) -> GeometryRequest | None:
    """What is to be known of the embedding; None if nothing is."""
    if not geometry and tsne is None:
        if table is not None:
            raise UsageError("--table says what is kept for --geometry and --tsne; give one of them too")
        return None
    if table == "-" and "-" in data:
        raise UsageError("DATA and --table cannot both come from standard input")
    if tsne is not None:
        from dprune_cli.report.tsne_plot import check_picture

        if len(runs) > 1:
            raise UsageError("--tsne draws the embedding of one run; evaluate the runs apart")
        check_picture(tsne, force=force)
    from dprune_cli.io.table import read_table
    from dprune_cli.stages.geometry import GeometryRequest

    kept = None if table is None else read_table(table, ["key", "status", "keep"])
    return GeometryRequest(measures=geometry, plane=tsne is not None, table=kept)


def _print_geometry(one: Evaluation) -> None:
    """A line for all and one for the kept samples, if their geometry is known."""
    for name, found in one.embedded.sets.items() if one.embedded is not None else ():
        measures = {
            "Dunn index": found.dunn_index,
            "adjacent centres": found.mean_adjacent_centre_distance,
            "single linkage": found.mean_single_linkage,
            "radius": found.mean_radius,
        }
        values = ", ".join(
            f"{what} {'unknown' if value is None else format(value, '.4g')}"
            for what, value in measures.items()
        )
        print_result(f"{one.run}: geometry of {name} {found.samples} samples: {values}")
