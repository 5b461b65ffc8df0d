"""The command `dprune`: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dprune_cli import __version__
from dprune_cli.cli import epilogs, evaluate, methods, prune, quota, score, select, train
from dprune_cli.cli.completion import whole_words
from dprune_cli.cli.console import bars_end_here, printable
from dprune_cli.cli.help_pages import CommandPage, GroupPage
from dprune_cli.cli.options import by_the_first
from dprune_cli.cli.processes import LostPeerError, all_processes
from dprune_cli.core import ranks
from dprune_cli.core.errors import ClosedPipe, DpruneError, UsageError
from dprune_cli.io.together import all_or_nothing

# The base of all errors of a command line; typer exports only this child of it.
_BadCommandLine: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="dprune",
    help="Make an image-classification data set smaller: score | quota | select | train | evaluate.",
    cls=GroupPage,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("score", cls=CommandPage, epilog=epilogs.SCORE)(score.command)
app.command("quota", cls=CommandPage, epilog=epilogs.QUOTA)(by_the_first(quota.command))
app.command("select", cls=CommandPage, epilog=epilogs.SELECT)(select.command)
app.command("train", cls=CommandPage, epilog=epilogs.TRAIN)(train.command)
app.command("evaluate", cls=CommandPage, epilog=epilogs.EVALUATE)(evaluate.command)
app.command("prune", cls=CommandPage, epilog=epilogs.PRUNE)(prune.command)
app.command("methods", cls=CommandPage, epilog=epilogs.METHODS)(by_the_first(methods.command))


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


def run_process(arguments: Sequence[str]) -> int:
    """Run the command of this process; returns its exit code, with everything written."""
    with whole_words(os.environ):
        return _finish(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code, having said on standard error what went wrong.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
    """
    debug = "--debug" in arguments
    try:
        with bars_end_here(), all_processes(), all_or_nothing():
            return app(list(arguments), prog_name="dprune", standalone_mode=False) or 0
    except ClosedPipe:
        return ClosedPipe.exit_code
    except DpruneError as error:
        return _report(error, debug)
    except _BadCommandLine as error:
        said = _usage(error)
        return _report(UsageError(said), debug) if said else UsageError.exit_code
    except MemoryError:
        return _report(DpruneError("out of memory; lower --cache-memory or --batch-size"), debug)
    except OSError as error:
        # What a stage expects of the system it explains itself; this is a disk that fails, and the like.
        where = f"{error.filename}: " if error.filename is not None else ""
        return _report(DpruneError(f"{where}{error.strerror or error}"), debug)
    except RuntimeError as error:
        # Both are torch's own, and torch may not be imported here.
        if type(error).__name__ == "OutOfMemoryError":
            return _report(DpruneError("out of GPU memory; lower --cache-memory or --batch-size"), debug)
        if "DefaultCPUAllocator" not in str(error):
            raise
        return _report(DpruneError("out of memory; lower --cache-memory, --batch-size or the model"), debug)


def _usage(error: Any) -> str:
    """What is wrong with a command line, in one line; nothing if it was empty and got its help text."""
    said = error.format_message().rstrip(".").replace("Value error, ", "")
    where = error.ctx.command_path if error.ctx is not None else "dprune"
    return f"{said[:1].lower()}{said[1:]} (see {where} --help)" if said else ""


def _finish(code: int) -> int:
    """Flush standard output, which Python would do at exit with a traceback if nobody reads it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _report(error: DpruneError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if ranks.should_say(str(error), own=not isinstance(error, LostPeerError)):
        print(f"dprune: error: {printable(str(error))}", file=sys.stderr)  # noqa: T201
    return error.exit_code
