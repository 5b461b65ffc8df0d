"""How far the long work of a command is: bars below what it says, or a line from time to time.

Everything is drawn when something advances, by whoever advances it: no thread draws while a command says
something, and nothing is left to stop. The cursor stays visible, so a command that is killed leaves a
terminal as it should be.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from dprune_cli.cli.screen import Screen, cells, cut
from dprune_cli.core.progress import BYTES

# Seconds between two drawings, between two lines, and between two remembered times.
_REDRAW, _LINE, _SAMPLE = 0.1, 5.0, 1.0
_REMEMBERED = 30
_WIDEST, _NARROWEST = 30, 6
_POWERS = ("B", "kB", "MB", "GB", "TB")


class Work:
    """Some work, how much of it is done, and how fast it goes.

    Attributes:
        what: the work, in a word or two.
        unit: what is counted, in the plural.
        done, total: of that unit.
    """

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = what, unit
        self.done = self.total = 0
        self._times: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._last = 0.0

    def advance(self, now: float, done: int, total: int) -> None:
        """So much is done at a time in seconds."""
        self.done, self.total, self._last = done, total, now
        if not self._times or now - self._times[-1][0] >= _SAMPLE:
            self._times.append((now, done))

    def rate(self) -> float | None:
        """Units a second of late; None while nobody knows."""
        if not self._times:
            return None
        began, before = self._times[0]
        seconds, count = self._last - began, self.done - before
        return count / seconds if count > 0 and seconds > 0 else None

    def remaining(self, now: float) -> float | None:
        """Seconds that the rest will take."""
        rate = self.rate()
        return None if rate is None else max((self.total - self.done) / rate - (now - self._last), 0.0)

    def counts(self) -> str:
        """What is done, of how much."""
        if self.unit == BYTES:
            power = _power(self.total)
            return f"{self.done / 1000**power:.1f}/{self.total / 1000**power:.1f} {_POWERS[power]}"
        more = f" {self.unit}" if self.unit != "samples" else ""
        return f"{self.done:,}/{self.total:,}{more}"

    def aligned_counts(self) -> str:
        """The same, as wide now as it will be in the end, so that nothing beside it moves."""
        done, _, total = self.counts().partition("/")
        return f"{done.rjust(len(total.split()[0]))}/{total}"

    def percent(self) -> str:
        """The same as a part of a hundred, never 100 before the end."""
        return f"{100 * self.done // self.total if self.total else 100} %"

    def speed(self) -> str:
        """The rate as people read it; nothing while it is not known."""
        rate = self.rate()
        if rate is None:
            return ""
        if self.unit == BYTES:
            power = _power(rate)
            return f"{rate / 1000**power:.3g} {_POWERS[power]}/s"
        if rate < 1:
            return f"{1 / rate:.3g} s/{self.unit.removesuffix('s')}"
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.1f} {self.unit}/s"

    def left(self, now: float) -> str:
        """The remaining time as people read it; nothing while it is not known."""
        seconds = self.remaining(now)
        return "" if seconds is None else f"{clock(seconds)} left"


def _power(value: float) -> int:
    return next((power for power in range(4) if value < 1000 ** (power + 1)), 4)


def clock(seconds: float) -> str:
    """A time as people read it.

    >>> clock(6.2), clock(125), clock(7505)
    ('0:06', '2:05', '2:05:05')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def draw_bars(
    works: Sequence[Work], now: float, width: int, *, plain: bool = False
) -> list[tuple[str, str, str]]:
    """One line for each work: what stands before its bar, the bar, and what stands after it.

    Args:
        works: what goes on, the outermost first.
        now: seconds.
        width: columns that a line may take; what matters least is left out where they are few.
        plain: only ASCII.
    """
    names = [cut(work.what, max(width // 3, 4), plain=plain) for work in works]
    first = max(map(cells, names), default=0) + 1
    choices: list[Callable[[Work], list[str]]] = [
        lambda work: [work.aligned_counts(), work.speed(), work.left(now)],
        lambda work: [work.aligned_counts(), work.left(now)],
        lambda work: [work.percent(), work.left(now)],
        lambda work: [work.percent()],
    ]
    for choose in choices:
        ends = ["  ".join(filter(None, choose(work))) for work in works]
        room = min(width - first - 2 - max(map(cells, ends), default=0), _WIDEST)
        if room >= _NARROWEST:
            break
    begins = [name + " " * (first - cells(name)) for name in names]
    bars = [_bar(work, room, plain) if room > 0 else "" for work in works]
    return [(begin, bar, f"  {end}") for begin, bar, end in zip(begins, bars, ends, strict=True)]


def _bar(work: Work, room: int, plain: bool) -> str:
    full = room * work.done // work.total if work.total else room
    done, left = "#-" if plain else "━─"
    return done * full + left * (room - full)


class Bars:
    """All that goes on in a command, shown on a screen.

    Args:
        screen: where.
        now: a clock, in seconds.
    """

    def __init__(self, screen: Screen, now: Callable[[], float] = time.monotonic) -> None:
        self._screen, self._now = screen, now
        self._works: list[Work] = []
        self._drawn: list[int] = []
        self._next = now() + (_REDRAW if screen.live else _LINE)

    def begin(self, what: str, unit: str) -> Work:
        """Some work begins."""
        work = Work(what, unit)
        self._works.append(work)
        if self._screen.live and not self._drawn:
            # What is over at once should not flash.
            self._next = self._now() + _REDRAW
        return work

    def advance(self, work: Work, done: int, total: int) -> None:
        """So much of it is done."""
        now = self._now()
        work.advance(now, done, total)
        if now < self._next:
            return
        if self._screen.live:
            self._next = now + _REDRAW
            self._draw(now)
        else:
            self._next = now + _LINE
            self._screen.write("; ".join(map(_sentence(now), self._works)) + "\n")

    def end(self, work: Work) -> None:
        """It is over."""
        if work in self._works:
            self._works.remove(work)
            if not self._works:
                self._screen.write(self._erasing())

    def stop(self) -> None:
        """All of it is over, or was broken off."""
        self._works.clear()
        self._screen.write(self._erasing())

    def say(self, line: str) -> None:
        """Write a line above the bars."""
        drawn = bool(self._drawn)
        self._screen.write(f"{self._erasing()}{line}\n")
        if drawn:
            self._draw(self._now())

    def _draw(self, now: float) -> None:
        # A terminal writes `^C` behind the bar; there must be room, or it begins a row that nobody knows of.
        lines = draw_bars(self._works, now, self._screen.columns() - 3, plain=self._screen.plain)
        painted = [begin + self._screen.paint(bar, "cyan") + end for begin, bar, end in lines]
        text = self._erasing() + "\n".join(painted)
        self._drawn = [cells("".join(line)) for line in lines]
        self._screen.write(text)

    def _erasing(self) -> str:
        """What takes away the bars that stand there, in as many rows as the terminal has broken them into."""
        if not self._drawn:
            return ""
        columns = self._screen.columns()
        rows = sum(max(-(-drawn // columns), 1) for drawn in self._drawn)
        self._drawn = []
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"{up}\r\x1b[J"


def _sentence(now: float) -> Callable[[Work], str]:
    def say(work: Work) -> str:
        parts = [f"{work.counts().replace('/', ' of ')} ({work.percent()})", work.speed(), work.left(now)]
        return f"{work.what}: " + ", ".join(filter(None, parts))

    return say
