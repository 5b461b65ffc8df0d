"""What can be shown where messages go: a terminal or not, its width, its colours and its letters."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from itertools import accumulate
from typing import TextIO

_WIDTH = 80
_COLOURS = {"yellow": "33", "cyan": "36", "bold": "1"}


class Screen:
    """A stream of text that may lead to a terminal.

    Attributes:
        live: whether lines that were written can be drawn again.
        colour: whether it wants colours.
        plain: whether it can show nothing but ASCII.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.live = stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self.colour = not os.environ.get("NO_COLOR") and (self.live or bool(os.environ.get("FORCE_COLOR")))
        self.plain = (stream.encoding or "ascii").lower().replace("-", "") not in ("utf8", "utf16", "utf32")

    def write(self, text: str) -> None:
        """Write at once; what is only said on the way may not end the work, so errors are ignored."""
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def paint(self, text: str, style: str) -> str:
        """The text in a colour, or bold, if that is wanted."""
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self.colour and style else text

    def width(self) -> int | None:
        """Columns: what `COLUMNS` says, else those of the terminal; None where lines may be of any length."""
        said = os.environ.get("COLUMNS", "")
        if said.isdecimal() and int(said) > 0:
            return int(said)
        return self.columns() if self.live else None

    def columns(self) -> int:
        """Columns of the terminal as it is now."""
        with suppress(OSError):
            return os.get_terminal_size(self._stream.fileno()).columns or _WIDTH
        return _WIDTH


def cells(text: str) -> int:
    """Columns that a text takes: none for a combining mark, two for a wide letter.

    >>> cells("cafe"), cells("cafe\u0301"), cells("猫")
    (4, 4, 2)
    """
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def cut(text: str, width: int, *, plain: bool = False) -> str:
    """A text cut to a number of columns, with a sign that it was; at least that sign is left.

    >>> cut("crocodile", 5), cut("crocodile", 9), cut("長い名前", 5)
    ('croc…', 'crocodile', '長い…')
    """
    if cells(text) <= width:
        return text
    more = "." if plain else "…"
    ends = accumulate(map(_cells_of, text))
    return "".join(sign for sign, end in zip(text, ends, strict=True) if end < width) + more
