"""`dprune quota`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dprune_cli.cli.completion import methods_of
from dprune_cli.cli.console import Terminal, percent
from dprune_cli.cli.options import Force, Seed, TableIn, TableOut, Talk, expand
from dprune_cli.core.errors import UsageError


@expand
def command(
    table: TableIn,
    *,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="B", help="What is kept: 0.3, 30% or 5000.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            metavar="NAME",
            help="NAME[:param=value,...].",
            autocompletion=methods_of("quota"),
        ),
    ] = None,
    val: Annotated[
        list[str] | None,
        typer.Option("--val", metavar="TABLE", help="Predictions by `dprune evaluate`; may be repeated."),
    ] = None,
    by: Annotated[
        Literal["class", "group"], typer.Option(metavar="WHAT", help="Quotas of every class or group.")
    ] = "class",
    min_per_class: Annotated[int, typer.Option(help="Samples promised to every class.")] = 0,
    quotas: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the quotas (.parquet, .csv, .json).")
    ] = None,
    edited: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="Apply an edited quotas file.")
    ] = None,
    output: TableOut = "-",
    seed: Seed = 0,
    force: Force = False,
    talk: Talk,
) -> None:
    """Decide how many samples of every class (or group) to keep."""
    from dprune_cli.core.budget import parse_budget
    from dprune_cli.io.outputs import check_distinct, check_output
    from dprune_cli.io.remote import parse_place
    from dprune_cli.io.table import check_table_output, open_table, write_table
    from dprune_cli.stages.quota import QuotaRequest, check_suffix, write_quotas
    from dprune_cli.stages.quota import quota as set_quotas

    terminal = Terminal(talk)
    check_distinct(output=output, quotas=quotas)
    check_table_output(output, force=force)
    quotas_file = parse_place(quotas)
    if quotas_file is not None:
        check_suffix(quotas_file)
        check_output(quotas_file, force=force)
    if edited is not None and (keep or method):
        raise UsageError("--from says all quotas itself: drop --keep and --method")
    if edited is None and (keep is None or method is None):
        raise UsageError("give --keep and --method, or --from with an edited quotas file")
    if [table, *(val or [])].count("-") > 1:
        raise UsageError("only one table can come from standard input")
    request = QuotaRequest(
        method=method,
        keep=parse_budget(keep) if keep is not None else None,
        by=by,
        validation=val or [],
        minimum=min_per_class,
        edited=parse_place(edited),
        seed=seed,
    )
    result, review = set_quotas(open_table(table), request, terminal)
    write_table(result, output, force=force)
    if quotas_file is not None:
        write_quotas(review, quotas_file, force=force)
    found = review.rows()
    rows = [
        (
            row["name"],
            str(row["available"]),
            percent(row["recall"]),
            percent(row["density"]),
            str(row["quota"]),
        )
        for row in found
    ]
    figure = "recall" if any(row["recall"] is not None for row in found) else "density"
    columns = (by, "available", "recall", "density", "quota")
    terminal.rows("quotas", columns, rows, worst=(figure, [row[figure] for row in found]))
    terminal.note(f"quotas keep {int(review.quota.sum())} of {int(review.available.sum())} samples")
