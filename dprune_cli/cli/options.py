"""Option types that commands share, and the step from a settings dataclass to command-line options.

A command takes `reading: DataConfig` or `training: TrainConfig` as one parameter; `expand` turns the fields
of such a parameter into options, each with the field's type, default and help text.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dprune_cli.cli.completion import complete_model
from dprune_cli.core import ranks
from dprune_cli.core.config import option, read_recipe
from dprune_cli.core.errors import UsageError

Data = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA...",
        help="Image folder, .tar, folder of shards, brace pattern, URL, or - for a tar stream.",
        show_default=False,
    ),
]
TableIn = Annotated[
    str, typer.Argument(metavar="TABLE", help="Score table: file, folder, quoted glob, URL, or -.")
]
TableOut = Annotated[
    str, typer.Option("-o", "--output", metavar="TABLE", help="Where the table goes; - is standard output.")
]
Force = Annotated[bool, typer.Option("--force", metavar="", help="Replace outputs that exist.")]
Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print a machine-readable summary to standard output.")
]
Seed = Annotated[int, typer.Option("--seed", help="Fixes every random choice.")]
Val = Annotated[
    list[str] | None, typer.Option("--val", metavar="DATA", help="Validation data; may be repeated.")
]

ReportOut = Annotated[
    str | None,
    typer.Option(
        "--report", metavar="FILE.html", help="Write a page for a browser: tables, pictures, plots."
    ),
]

FEATURES = "Features"
FromFeatures = Annotated[
    str | None,
    typer.Option(
        "--from-features",
        metavar="FILE",
        help="Features of any model instead of images; DATA may be left out.",
        rich_help_panel=FEATURES,
    ),
]


def _load_recipe(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        options = {option.name: option for option in context.command.params if option.name}
        values = read_recipe(path, set(options))
        for name, value in values.items():
            # Left alone, `true` would pass for the number 1.
            if isinstance(value, bool) and not getattr(options[name], "is_flag", False):
                raise UsageError(f"{path}: {name} is neither on nor off; give it a value of its own")
        context.default_map = {**(context.default_map or {}), **values}
    return path


Recipe = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE.toml",
        help="Options from a file; flags win over it.",
        is_eager=True,
        callback=_load_recipe,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Talk:
    """How much a command says."""

    quiet: bool = option(False, "Say nothing but errors.", "Messages")
    verbose: bool = option(False, "Say more.", "Messages")
    debug: bool = option(False, "Show a traceback where something fails.", "Messages")


def by_the_first(command: Callable[..., None]) -> Callable[..., None]:
    """A command that the first of several processes does for all."""

    @functools.wraps(command)
    def call(**given: Any) -> None:
        if ranks.is_main():
            command(**given)

    return call


_SHORT = {"quiet": "-q", "verbose": "-v"}
_COMPLETED = {"model": complete_model}


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose settings-dataclass parameters have become one option a field."""
    signature = inspect.signature(command)
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    plain = [
        item.replace(annotation=hints[name])
        for name, item in signature.parameters.items()
        if name not in groups
    ]
    expanded = [item for group in groups.values() for item in _options(group)]

    @functools.wraps(command)
    def call(**given: Any) -> None:
        settings = {name: group(**_take(group, given)) for name, group in groups.items()}
        command(**given, **settings)

    call.__signature__ = signature.replace(parameters=[*plain, *expanded])  # type: ignore[attr-defined]
    call.__annotations__ = {item.name: item.annotation for item in (*plain, *expanded)}
    return call


def _take(group: Any, given: dict[str, Any]) -> dict[str, Any]:
    return {item.name: given.pop(item.name) for item in dataclasses.fields(group)}


def _options(group: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group)
    return [_parameter(item, hints[item.name]) for item in dataclasses.fields(group)]


def _parameter(item: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    flag = item.name.replace("_", "-")
    names = [f"--{flag}/--no-{flag}" if hint is bool and item.default else f"--{flag}"]
    names += [_SHORT[item.name]] if item.name in _SHORT else []
    # A flag takes no value, so its help names no type for one.
    about = typer.Option(
        *names,
        help=item.metadata["help"],
        rich_help_panel=item.metadata["panel"],
        metavar="" if hint is bool else None,
        autocompletion=_COMPLETED.get(item.name),
    )
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=Annotated[hint, about]
    )
