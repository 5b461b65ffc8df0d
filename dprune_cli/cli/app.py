"""The command `dprune`: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer

from dprune_cli import __version__
from dprune_cli.cli import evaluate, methods, quota, score, select, train
from dprune_cli.core.errors import ClosedPipe, DpruneError, Interrupted

app = typer.Typer(
    name="dprune",
    help="Make an image-classification data set smaller: score | quota | select | train | evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("score")(score.command)
app.command("quota")(quota.command)
app.command("select")(select.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("methods")(methods.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dprune {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """See the help text of `app`."""


def main() -> NoReturn:
    """Run the command line; never returns."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
        code = 0
    except ClosedPipe:
        # Python flushes standard output on exit; with nobody reading, that would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ClosedPipe.exit_code
    except DpruneError as error:
        code = _report(error)
    except Interrupted as stop:
        print("dprune: interrupted", file=sys.stderr)  # noqa: T201
        code = stop.exit_code
    except MemoryError:
        code = _report(DpruneError("out of memory; lower --cache-memory or --batch-size"))
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _report(error: DpruneError) -> int:
    if "--debug" in sys.argv:
        traceback.print_exc()
    print(f"dprune: error: {error}", file=sys.stderr)  # noqa: T201
    return error.exit_code
