"""Everything a command says: notes, warnings and progress on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, TypeVar

from dprune_cli.cli.bars import Bars
from dprune_cli.cli.options import Talk
from dprune_cli.cli.screen import Screen
from dprune_cli.cli.tables import choose_rows, lay_out
from dprune_cli.core import ranks
from dprune_cli.core.progress import SAMPLES, Advance, ignore, one

T = TypeVar("T")

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


class Terminal:
    """What a command says on standard error; the `core.progress.Progress` that stages are given."""

    def __init__(self, talk: Talk) -> None:
        # Several processes would all say the same.
        self.quiet = talk.quiet or not ranks.is_main()
        self.verbose = talk.verbose
        self.screen = Screen(sys.stderr)

    @cached_property
    def _bars(self) -> Bars:
        bars = Bars(self.screen)
        if (stack := _ending.get()) is not None:
            stack.callback(bars.stop)
        return bars

    def note(self, line: str) -> None:
        """One line, unless `-q`."""
        self._say(line)

    def warn(self, line: str) -> None:
        """One line, unless `-q`."""
        self._say(f"warning: {line}", "yellow")

    def _say(self, line: str, style: str = "") -> None:
        if not self.quiet:
            self._bars.say(self.screen.paint(printable(line), style))

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
        work = self._bars.begin(what, unit)
        try:
            self._bars.advance(work, done, total)
            for item in items:
                yield item
                done += size(item)
                self._bars.advance(work, done, max(done, total))
        finally:
            self._bars.end(work)

    def count(self, what: str, unit: str = SAMPLES) -> Advance:
        """The same, for work that reports how far it is."""
        if self.quiet:
            return ignore
        work = None

        def advance(done: int, total: int) -> None:
            nonlocal work
            work = work or self._bars.begin(what, unit)
            self._bars.advance(work, done, total)
            if done >= total:
                self._bars.end(work)

        return advance

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
        numbers = [number for _, part in parts for number in part]
        cells = [[printable(cell) for cell in rows[number]] for number in numbers]
        lines = iter(lay_out(columns, cells, self.screen.width(), plain=self.screen.plain))
        say = self._bars.say
        say(title)
        say(self.screen.paint(next(lines), "bold"))
        for name, part in parts:
            if name:
                say(f"the lowest {figure}:" if name == "worst" else f"the {name}:")
            for _ in part:
                say(next(lines))
        if len(numbers) < len(rows):
            self.note(f"... and {len(rows) - len(numbers):,} more; -v shows all")


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
