"""Everything a command says: notes, warnings and progress on standard error, results on standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from dprune_cli.cli.options import Talk
from dprune_cli.core import ranks
from dprune_cli.io.outputs import standard_output

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

_EVERY = 5.0
_HEAD = 20


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

        return Console(stderr=True, highlight=False, soft_wrap=True)

    def note(self, line: str) -> None:
        """One line, unless `-q`."""
        if not self.quiet:
            self._print(line)

    def warn(self, line: str) -> None:
        """One line, unless `-q`."""
        if not self.quiet:
            self._print(f"warning: {line}", "yellow")

    def _print(self, line: str, style: str = "") -> None:
        from rich.text import Text

        # As Text, because a key or a class name may look like markup.
        self.console.print(Text(printable(line), style=style))

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """A progress bar on a terminal; elsewhere one line every few seconds."""
        with self._counting(what) as advance:
            for number, item in enumerate(items, 1):
                yield item
                advance(number, max(number, total))

    def count(self, what: str) -> Callable[[int, int], None]:
        """The same, for work that reports how far it is."""
        stack = ExitStack()
        advance = stack.enter_context(self._counting(what))

        def step(done: int, total: int) -> None:
            advance(done, total)
            if done >= total:
                stack.close()

        return step

    @contextmanager
    def _counting(self, what: str) -> Iterator[Callable[[int, int], None]]:
        if self.quiet:
            yield lambda done, total: None
        elif self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as bars:
                task = bars.add_task(what, total=None)
                yield lambda done, total: bars.update(task, completed=done, total=total)
        else:
            yield self._lines(what)

    def _lines(self, what: str) -> Callable[[int, int], None]:
        last = time.monotonic()

        def advance(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _EVERY:
                last = now
                self.note(f"{what}: {done} of {total}")

        return advance

    def rows(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table; only its first rows if it is long, unless `-v`."""
        if self.quiet:
            return
        from rich.table import Table
        from rich.text import Text

        shown = rows if self.verbose or len(rows) <= _HEAD else rows[:_HEAD]
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
        for row in shown:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console.print(table)
        if len(shown) < len(rows):
            self.note(f"... and {len(rows) - len(shown)} more; -v shows all")


def print_json(value: Any) -> None:
    """A result for machines, on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print_result("\n".join(_escape(line, lambda sign: json.dumps(sign)[1:-1]) for line in text.split("\n")))


def print_result(text: str) -> None:
    """A result, on standard output; several processes have one result."""
    if not ranks.is_main():
        return
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
