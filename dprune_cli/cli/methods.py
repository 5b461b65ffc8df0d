"""`dprune methods`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from dprune_cli.cli.completion import complete_kind
from dprune_cli.cli.console import print_json, print_result
from dprune_cli.cli.options import Json, Talk, expand

_USES = {
    "score": "dprune score DATA -m {} -o TABLE",
    "quota": "dprune quota TABLE --method {} --keep 30%",
    "picker": "dprune select TABLE --by COLUMN --pick {} --keep 30%",
    "sampler": "dprune train DATA --sampler {} --keep 30% -o RUN",
    "weighter": "dprune train DATA --weighter {} -o RUN",
}


@expand
def command(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="Only score, quota, picker, sampler or weighter.",
            autocompletion=complete_kind,
        ),
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
        print_result("\n".join([*lines, f"    use: {write_use(method)}"]) + "\n")


def write_use(method: Mapping[str, str]) -> str:
    """A command line that uses a method, as `describe_methods` describes it.

    >>> write_use({"kind": "quota", "name": "longtail", "parameters": "factor=...", "needs": "class sizes"})
    'dprune quota TABLE --method longtail:factor=... --keep 30%'
    """
    required = [item for item in method["parameters"].split(", ") if item.endswith("=...")]
    line = _USES[method["kind"]].format(
        ":".join([method["name"], *([",".join(required)] if required else [])])
    )
    needs = method.get("needs", "")
    # What `dprune quota` wants to have is a table already.
    val = "TABLE" if method["kind"] == "quota" else "DATA"
    more = {"--val": f" --val {val}", "a table with": " --table TABLE"}
    return line + "".join(option for need, option in more.items() if need in needs)
