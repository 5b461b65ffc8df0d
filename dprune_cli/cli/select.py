"""`dprune select`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dprune_cli.cli.completion import complete_column, complete_ranking, methods_of
from dprune_cli.cli.console import Terminal, percent, print_json
from dprune_cli.cli.options import Force, Json, ReportOut, Seed, TableIn, Talk, expand
from dprune_cli.core import ranks
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES
from dprune_cli.core.errors import UsageError

if TYPE_CHECKING:
    from dprune_cli.stages.output_contents import Describe
    from dprune_cli.stages.select import Selection

_NAMED = 5


@expand
def command(
    table: TableIn,
    *,
    by: Annotated[
        str,
        typer.Option(metavar="COLUMN", help="Column to rank by, or random.", autocompletion=complete_ranking),
    ],
    keep: Annotated[str | None, typer.Option(metavar="B", help="What is kept: 0.3, 30% or 5000.")] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="NAME[:param=value,...] of top, weighted, stratified (CCS), random; default top.",
            autocompletion=methods_of("picker"),
        ),
    ] = None,
    end: Annotated[
        Literal["high", "low", "middle", "hard", "easy"] | None,
        typer.Option(
            metavar="END",
            help="End that top and weighted keep: high, low, middle, hard, easy; default the paper's.",
        ),
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--global", metavar="", help="Ignore quotas; rank all samples together.")
    ] = False,
    weight_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Give what is kept a weight: this column, scaled to mean 1.",
            autocompletion=complete_column,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="TABLE", help="Where the table goes; default standard output."
        ),
    ] = None,
    shards: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write the kept samples as shards; - streams.")
    ] = None,
    folder: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write the kept images as class/image.")
    ] = None,
    keys: Annotated[str | None, typer.Option(metavar="FILE", help="Write the kept keys, one a line.")] = None,
    card: Annotated[
        bool,
        typer.Option(
            "--card", metavar="", help="Describe shards or folder in README.md, Croissant, timm's _info.json."
        ),
    ] = False,
    report: ReportOut = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Where the samples are, if not where they were scored."),
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", metavar="", help="Write shards in a seeded random order.")
    ] = False,
    shard_samples: Annotated[int, typer.Option(help="Most samples in a shard.")] = SHARD_SAMPLES,
    shard_bytes: Annotated[int, typer.Option(help="Most bytes of a shard.")] = SHARD_BYTES,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
    talk: Talk,
) -> None:
    """Keep the best samples by a column, within quotas if the table has any, and write them out."""
    from dprune_cli.core.budget import parse_budget
    from dprune_cli.io.outputs import check_distinct
    from dprune_cli.io.remote import parse_place
    from dprune_cli.io.table import check_table_output, open_table, write_table
    from dprune_cli.stages.select import SelectOutputs, SelectRequest
    from dprune_cli.stages.select import select as select_samples

    terminal = Terminal(talk)
    if json and "-" in (output, shards):
        raise UsageError("standard output cannot take both --json and a table or shards; give -o FILE")
    if output == shards == "-":
        raise UsageError("standard output cannot take both the table and the shards; give -o FILE")
    elsewhere = shards is not None or folder is not None or keys is not None
    elsewhere = elsewhere or report is not None
    if output is None and not json and shards != "-" and not (elsewhere and sys.stdout.isatty()):
        output = "-"
    if weight_by is not None and output is None:
        raise UsageError("--weight-by writes a column of the table; give -o FILE")
    if card and (shards == "-" or (shards is None and folder is None)):
        raise UsageError("--card describes a folder of samples; give --shards DIR or --folder DIR")
    check_distinct(output=output, shards=shards, folder=folder, keys=keys, report=report)
    check_table_output(output, force=force)
    outputs = SelectOutputs(
        shards=shards,
        folder=parse_place(folder),
        keys=parse_place(keys),
        data=data or [],
        shuffle=shuffle,
        shard_samples=shard_samples,
        shard_bytes=shard_bytes,
        seed=seed,
        force=force,
    )
    outputs.verify()
    if report is not None:
        from dprune_cli.report.page import check_report

        check_report(report, force=force)
    request = SelectRequest(
        by=by,
        keep=parse_budget(keep) if keep is not None else None,
        pick=pick,
        end=end,
        everywhere=everywhere,
        weight_by=weight_by,
        seed=seed,
    )
    found = select_samples(open_table(table), request, terminal)
    if outputs.any:
        # Imported here, because what copies shards takes longer to import than a small table to select.
        from dprune_cli.stages.select_kept import write_kept

        describe = _describe(found, terminal) if card else None
        for shard in write_kept(found, outputs, progress=terminal, describe=describe):
            if shards != "-":
                terminal.note(f"{shards}/{shard.name}: {shard.samples} samples, {shard.size} bytes")
    if output is not None:
        write_table(found.table, output, force=force)
    if report is not None and ranks.is_main():
        from dprune_cli.report.page import write_report
        from dprune_cli.report.select_report import select_report

        write_report(select_report(found, data=outputs.data), report, force=force)
    _report(found, terminal)
    if json:
        print_json(found.as_json())


def _describe(found: Selection, terminal: Terminal) -> Describe:
    """What `--card` writes into the folders of samples."""
    from functools import partial

    from dprune_cli.report.cards.write import write_cards

    return partial(write_cards, found=found, progress=terminal)


def _report(found: Selection, terminal: Terminal) -> None:
    """What is left of every class and group, and of the smallest."""
    for left in (found.classes, *([found.groups] if found.groups else [])):
        coverage, names = left.coverage, left.names
        numbers = (coverage.available.tolist(), coverage.kept.tolist(), coverage.density.tolist())
        rows = [
            (name, str(available), str(kept), percent(density))
            for name, available, kept, density in zip(names, *numbers, strict=True)
        ]
        columns = (left.by, "available", "kept", "density")
        terminal.rows("kept", columns, rows, worst=("density", coverage.density.tolist()))
        smallest = coverage.smallest
        if smallest is not None:
            terminal.note(
                f"kept {coverage.kept.sum()} of {coverage.available.sum()} samples; "
                f"smallest {left.by} {names[smallest]} with {coverage.kept[smallest]}"
            )
        if left.correlation is not None:
            terminal.note(f"correlation of density with validation recall: {left.correlation:+.2f}")
        if coverage.empty:
            some = ", ".join(names[number] for number in coverage.empty[:_NAMED])
            more = f" and {len(coverage.empty) - _NAMED} more" if len(coverage.empty) > _NAMED else ""
            terminal.warn(
                f"nothing is kept of {left.by} {some}{more}; quotas with --min-per-class would keep some"
            )
