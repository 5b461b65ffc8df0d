"""Everything a command says: notes, warnings and progress on standard error, results on standard output."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from dprune_cli.cli.options import Talk
from dprune_cli.core import ranks
from dprune_cli.core.progress import SAMPLES, Advance, ignore, one

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dprune_cli.cli.bars import Bars

T = TypeVar("T")

# Rows of a table up to which all are shown; of more, the worst, the first and the last.
MOST_ROWS = 20
_PARTS = {"worst": 10, "first": 6, "last": 4}
# What is left of names where there is no room, in columns of a terminal.
_NARROWEST = 8

_ending: ContextVar[ExitStack | None] = ContextVar("what ends with the command", default=None)


@contextmanager
def bars_end_here() -> Iterator[None]:
    """No bar that is opened in this block outlasts it: what broke the work off is said where they stood."""
    with ExitStack() as stack:
        token = _ending.set(stack)
        try:
            yield
        finally:
            _ending.reset(token)


class _Unfailing:
    """A stream whose errors are ignored, because what is only said on the way may not end the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class Terminal:
    """What a command says on standard error; the `core.progress.Progress` that stages are given."""

    def __init__(self, talk: Talk) -> None:
        # Several processes would all say the same.
        self.quiet = talk.quiet or not ranks.is_main()
        self.verbose = talk.verbose

    @cached_property
    def console(self) -> Console:
        """Made when something is first said: a quiet command need not import rich's."""
        from rich.console import Console

        stream = cast(TextIO, _Unfailing(sys.stderr))
        console = Console(file=stream, highlight=False, soft_wrap=True)
        if console.width < 1:
            console.width = 80  # in `COLUMNS=0` rich prints nothing
        # To rich, whatever colours are forced upon is a terminal.
        console.is_interactive = console.is_interactive and stream.isatty()
        return console

    @cached_property
    def _bars(self) -> Bars:
        from dprune_cli.cli.bars import Bars

        bars = Bars(self.console)
        if (stack := _ending.get()) is not None:
            stack.callback(bars.live.stop)
        return bars

    def note(self, line: str) -> None:
        """One line, unless `-q`."""
        self._print(line)

    def warn(self, line: str) -> None:
        """One line, unless `-q`."""
        self._print(f"warning: {line}", "yellow")

    def _print(self, line: str, style: str = "") -> None:
        if self.quiet:
            return
        from rich.text import Text

        # As Text, because a key or a class name may look like markup.
        self.console.print(Text(printable(line), style))

    def track(
        self,
        items: Iterable[T],
        total: int,
        what: str,
        *,
        unit: str = SAMPLES,
        size: Callable[[T], int] = one,
        done: int = 0,
    ) -> Iterator[T]:
        """A progress bar on a terminal; elsewhere a line every few seconds."""
        if self.quiet:
            yield from items
            return
        with self._bars.show(printable(what), unit, done, total) as advance:
            for item in items:
                yield item
                done += size(item)
                advance(done, max(done, total))

    def count(self, what: str, unit: str = SAMPLES) -> Advance:
        """The same, for work that reports how far it is."""
        if self.quiet:
            return ignore
        stack = ExitStack()
        advance: Advance | None = None

        def step(done: int, total: int) -> None:
            nonlocal advance
            if advance is None:
                advance = stack.enter_context(self._bars.show(printable(what), unit, done, total))
            advance(done, total)
            if done >= total:
                stack.close()
                advance = None

        return step

    def rows(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        worst: tuple[str, Sequence[float | None]] | None = None,
    ) -> None:
        """A small table; of a long one only some rows, unless `-v`.

        Args:
            title: stands above it.
            columns: names; the first column holds names, the others numbers.
            rows: cells.
            worst: the name of a figure and its value in every row, of which the lowest matter most; None
                if the first rows do.
        """
        if self.quiet:
            return
        figure, values = worst or ("", ())
        parts = [("", list(range(len(rows))))] if self.verbose else choose_rows(len(rows), values)
        lines: list[list[str]] = []
        for name, part in parts:
            if name:
                lines.append([f"the lowest {figure}:" if name == "worst" else f"the {name}:"])
            lines += ([printable(cell) for cell in rows[number]] for number in part)
        self.note(title)
        # A file or a pipe has no width, unless somebody says so.
        fits = self.console.is_interactive or os.environ.get("COLUMNS")
        self.console.print(_lay_out(columns, lines, self.console.width if fits else math.inf))
        shown = sum(len(part) for _, part in parts)
        if shown < len(rows):
            self.note(f"... and {len(rows) - shown:,} more; -v shows all")


def choose_rows(count: int, worst: Sequence[float | None] = ()) -> list[tuple[str, list[int]]]:
    """The rows of a long table that are shown, in parts.

    Args:
        count: rows.
        worst: (count,) a figure a row, whose lowest are the worst; None where there is none. Nothing if the
            rows have no worst but stand in order of importance.

    Returns:
        The name of each part, and the numbers of its rows: ascending, the worst by their figure. No row
        stands in two parts.

    >>> choose_rows(5)
    [('', [0, 1, 2, 3, 4])]
    """
    if count <= MOST_ROWS:
        return [("", list(range(count)))]
    lowest = sorted((value, row) for row, value in enumerate(worst) if value is not None and value == value)
    if lowest and lowest[0][0] == lowest[-1][0]:
        lowest = []  # no row is worse than another
    found = [row for _, row in lowest[: _PARTS["worst"]]]
    rest = [row for row in range(count) if row not in set(found)]
    first = MOST_ROWS - _PARTS["last"] - len(found)
    parts = [("worst", found), ("first", rest[:first]), ("last", rest[-_PARTS["last"] :])]
    return [(name, rows) for name, rows in parts if rows]


def _lay_out(columns: Sequence[str], lines: Sequence[Sequence[str]], width: float) -> Table:
    """A table whose first column is cut if there is no room; of itself, rich would cut numbers as well."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    wide = [max(map(cell_len, column)) for column in zip_longest(columns, *lines, fillvalue="")]
    gap = 2 if sum(wide[1:]) + 2 * len(wide[1:]) + _NARROWEST <= width else 1
    numbers = [gap + room for room in wide[1:]]
    names = int(min(wide[0], max(width - sum(numbers), _NARROWEST)))
    table = Table(box=None, padding=0, width=names + sum(numbers))
    table.add_column(columns[0], width=names, no_wrap=True)
    for name, room in zip(columns[1:], numbers, strict=True):
        table.add_column(name, width=room, no_wrap=True, justify="right")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def print_json(value: Any) -> None:
    """A result for machines, on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print_result("\n".join(_escape(line, lambda sign: json.dumps(sign)[1:-1]) for line in text.split("\n")))


def print_result(text: str) -> None:
    """A result, on standard output; several processes have one result."""
    if not ranks.is_main():
        return
    # Imported here, because help pages need nothing of it.
    from dprune_cli.io.outputs import standard_output

    with standard_output() as stream:
        # In UTF-8 whatever the locale, because it may be JSON; undecodable bytes of paths as they were.
        stream.write(f"{text}\n".encode(errors="surrogateescape"))


def printable(text: str) -> str:
    r"""Text in which whatever would move the cursor, ring, or hide something is written out.

    Keys, paths and names of classes come from data, and a terminal does as it is told.

    >>> printable("é\x1b[2J\n")
    'é\\x1b[2J\\n'
    """
    return _escape(text, lambda sign: repr(sign)[1:-1])


def _escape(text: str, write: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else write(sign) for sign in text)


def percent(value: float | None) -> str:
    """A fraction as people read it.

    >>> percent(0.4567), percent(None)
    ('45.7 %', '')
    """
    return "" if value is None or value != value else f"{100 * value:.1f} %"
