"""How far the long work of a command is: bars below what it says, or a line from time to time.

rich draws the bars, when something advances, by whoever advances it: no thread draws while a command says
something. What rich lacks is added: columns with units, lines where there is no terminal, and terminals that
are resized. Importing it takes a while, so nobody imports this file before there is something to show.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, ConsoleRenderable, RenderableType, RenderHook
from rich.constrain import Constrain
from rich.control import Control
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task
from rich.segment import ControlType, Segment
from rich.table import Column
from rich.text import Text

from dprune_cli.core.progress import BYTES, SAMPLES, Advance

# Seconds between two drawings, and between two lines.
_REDRAW, _LINE = 0.1, 5.0
_ROW_ABOVE = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))


class Bars(Progress, RenderHook):
    """All that goes on in a command, the outermost first."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._screen = console
        super().__init__(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            # Rates are those of the last 1,000 drawings, even where one epoch takes an hour.
            speed_estimate_period=math.inf,
            get_time=now,
            disable=not console.is_interactive,
        )
        self._every = _LINE if self.disable else _REDRAW
        self._next = now() + self._every
        self._lengths: list[int] = []
        console.push_render_hook(self)

    @contextmanager
    def show(self, what: str, unit: str, done: int, total: int) -> Iterator[Advance]:
        """Some work, shown while the block lasts; what is done so far is told to the function."""
        due = self.get_time() + _REDRAW
        if not self.tasks:
            # What is over at once should not flash.
            self._next = max(self._next, due)
        task = self.add_task(what, total=total, completed=done, unit=unit)
        self.advance(task, 0)  # rates count from here

        def advance(done: int, total: int) -> None:
            nonlocal due
            # An item may take a microsecond, and rich takes ten.
            if (now := self.get_time()) >= due:
                due = now + _REDRAW
                self.update(task, completed=done, total=total, refresh=True)

        try:
            yield advance
        finally:
            if len(self.tasks) == 1:
                self.live.stop()
            self.remove_task(task)

    def refresh(self) -> None:
        """Draw all bars, or write a line, unless that was done a moment ago."""
        if (now := self.get_time()) < self._next:
            return
        self._next = now + self._every
        if self.disable:
            self.console.print(Text("; ".join(map(_sentence, self.tasks))))
        else:
            if not self.live.is_started:
                self.live.start()
                self.console.show_cursor(True)  # which a killed command would leave hidden
            super().refresh()

    def get_renderable(self) -> RenderableType:
        """The bars; a terminal writes `^C` behind them, and there must be room for it."""
        width = max(self._screen.width - 3, 1)
        self.columns = choose_columns(width)
        return Constrain(super().get_renderable(), width)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Erase, besides the rows that rich has drawn, those into which a narrower window has broken them."""
        rows = sum(-(-length // max(self.console.width, 1)) - 1 for length in self._lengths)
        lines = self.console.render_lines(self, pad=False) if self.live.is_started else []
        self._lengths = [max(Segment.get_line_length(line), 1) for line in lines]
        return [Control(*_ROW_ABOVE * rows), *renderables]


class _Words(ProgressColumn):
    """A column of text that no column of rich's can write; cut if there is no room, unless it is whole."""

    def __init__(self, write: Callable[[Task], str], *, whole: bool = True) -> None:
        super().__init__(Column(no_wrap=whole))
        self._write = write

    def render(self, task: Task) -> Text:
        """Its text for one bar."""
        return Text(self._write(task), no_wrap=True, overflow="ellipsis")


def choose_columns(width: int) -> tuple[ProgressColumn, ...]:
    """What stands beside the bars where there are so many columns of a terminal."""
    name = _Words(lambda task: task.description, whole=False)
    bar = BarColumn(30, complete_style="cyan", finished_style="cyan")
    if width < 45:
        return name, bar, _Words(_percent)
    return name, bar, _Words(_count), *([_Words(_rate)] if width >= 75 else []), _Words(_left)


def _sentence(task: Task) -> str:
    parts = [f"{_count(task).strip().replace('/', ' of ')} ({_percent(task)})", _rate(task), _left(task)]
    return f"{task.description}: " + ", ".join(filter(None, parts))


def _count(task: Task) -> str:
    if task.fields["unit"] == BYTES:
        return DownloadColumn().render(task).plain
    total, unit = f"{task.total:,}", task.fields["unit"]
    more = f" {unit}" if unit != SAMPLES else ""
    return f"{task.completed:,}".rjust(len(total)) + f"/{total}{more}"


def _percent(task: Task) -> str:
    # As rich has it, the last half percent would be none.
    return f"{int(100 * task.completed / task.total) if task.total else 100} %"


def _rate(task: Task) -> str:
    speed, unit = task.speed, task.fields["unit"]
    if not speed:
        return ""
    if unit == BYTES:
        return f"{decimal(int(speed))}/s"
    if speed < 1:
        return f"{1 / speed:.3g} s/{unit.removesuffix('s')}"
    return f"{speed:,.{int(speed < 10)}f} {unit}/s"


def _left(task: Task) -> str:
    seconds = task.time_remaining
    return "" if seconds is None else f"{timedelta(seconds=seconds)} left"
