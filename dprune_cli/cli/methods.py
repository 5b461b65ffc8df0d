"""`dprune methods`."""

from __future__ import annotations

from typing import Annotated

import typer

from dprune_cli.cli.console import print_json, print_result
from dprune_cli.cli.options import Json, Talk, expand


@expand
def command(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Only score, quota, picker, sampler or weighter.")
    ] = None,
    *,
    json: Json = False,
    talk: Talk,
) -> None:
    """List every registered method: formula, paper, orientation, needs, cost."""
    from dprune_cli.stages.methods import describe_methods

    found = describe_methods(kind)
    if json:
        print_json(found)
        return
    for method in found:
        lines = [f"{method['kind']}  {method['name']}  ({method['title']})", f"    {method['formula']}"]
        for name in ("parameters", "keep_first", "hard_end", "needs", "cost", "paper"):
            if method.get(name):
                lines.append(f"    {name.replace('_', ' ')}: {method[name]}")
        print_result("\n".join(lines) + "\n")
