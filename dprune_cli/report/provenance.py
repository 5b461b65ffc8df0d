"""Where a result comes from, so that a reader can make it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dprune_cli import __version__
from dprune_cli.core.errors import DpruneError
from dprune_cli.io.remote import parse_place
from dprune_cli.io.run_dir import TABLE, read_config
from dprune_cli.io.table import open_table
from dprune_cli.io.table_meta import TableMeta
from dprune_cli.report.blocks import Block, Commands, Facts, Grid, Section, Value
from dprune_cli.report.blocks import Column as GridColumn
from dprune_cli.report.commands import rebuild

_PACKAGES = ("torch", "torchvision", "numpy", "pyarrow")
_PLACEHOLDERS = (
    "What a command wrote is not recorded: the names of outputs are placeholders, which the next command "
    "reads. Paths are as they were typed, relative to the folder in which they were typed."
)


def provenance_section(meta: TableMeta, commands: Sequence[tuple[str, str]] | None = None) -> Section:
    """The steps of a table with their commands and facts, and versions.

    Args:
        meta: what the table says of itself.
        commands: that made it, each with what to say of it; None to rebuild them from its steps.
    """
    commands = rebuild(meta) if commands is None else commands
    blocks: list[Block] = []
    if commands:
        blocks.append(Commands(title="Run it again", commands=commands, caption=_PLACEHOLDERS))
    blocks.append(Facts(title="Data", values=_data(meta)))
    if meta.scores:
        blocks.append(_scores(meta))
    for number, step in enumerate(meta.steps, 1):
        options = step.get("options", {})
        title = f"Step {number}: {step.get('command')}"
        blocks.append(Facts(title=title, values=_facts(options)))
    blocks.append(Facts(title="Versions", values=versions()))
    return Section(title="Provenance", blocks=blocks)


def run_commands(run: str) -> list[tuple[str, str]]:
    """The commands that made a run folder; none where it does not say."""
    folder = parse_place(run)
    try:
        return rebuild(open_table(str(folder / TABLE)).meta, run, read_config(folder))
    except DpruneError:
        return []  # a model of other origin, or a folder that holds no table


def versions() -> dict[str, Value]:
    """Versions of what a result depends on; nothing is imported for it."""
    found: dict[str, Value] = {"dprune": __version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _data(meta: TableMeta) -> dict[str, Value]:
    return {
        "root": _written(meta.root),
        "fingerprint": meta.fingerprint,
        "table format": meta.version,
        "classes": len(meta.classes) or None,
        "groups": len(meta.groups) or None,
        **_facts(meta.reading),
    }


def _scores(meta: TableMeta) -> Grid:
    names = ("method", "parameters", "keep_first", "hard_end", "runs", "seeds", "model", "epochs", "paper")
    return Grid(
        title="Score columns",
        columns=[GridColumn(name="column"), *(GridColumn(name=name.replace("_", " ")) for name in names)],
        rows=[
            [column, *(_written(about.get(name)) for name in names)]
            for column, about in sorted(meta.scores.items())
        ],
    )


def _facts(values: Mapping[str, Any]) -> dict[str, Value]:
    """By name in order: a table that was just made and the same one from a file have them in two orders."""
    return {name: _written(value) for name, value in sorted(values.items())}


def _written(value: Any) -> Value:
    """A value of the metadata on one line."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in _facts(value).items()) or None
    if isinstance(value, list | tuple):
        return ", ".join(str(_written(one)) for one in value) or None
    return json.dumps(value, default=str)
