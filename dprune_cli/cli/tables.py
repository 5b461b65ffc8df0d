"""Small tables on a terminal: aligned, never wider than it, and readable with a thousand rows."""

from __future__ import annotations

from collections.abc import Sequence

from dprune_cli.cli.screen import cells, cut

# Rows up to which all are shown; of more, the worst, the first and the last.
ALL = 20
_PARTS = {"worst": 10, "first": 6, "last": 4}
_NARROWEST = 8


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
    if count <= ALL:
        return [("", list(range(count)))]
    lowest = sorted((value, row) for row, value in enumerate(worst) if value is not None and value == value)
    if lowest and lowest[0][0] == lowest[-1][0]:
        lowest = []  # no row is worse than another
    found = [row for _, row in lowest[: _PARTS["worst"]]]
    rest = [row for row in range(count) if row not in set(found)]
    first = ALL - _PARTS["last"] - len(found)
    parts = [("worst", found), ("first", rest[:first]), ("last", rest[-_PARTS["last"] :])]
    return [(name, rows) for name, rows in parts if rows]


def lay_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, *, plain: bool = False
) -> list[str]:
    """The lines of a table: the names of its columns, then its rows.

    The first column is flush left and cut if there is no room for it; the others, which are numbers, are
    flush right and always whole.

    Args:
        columns: names.
        rows: cells, as many as there are names, without line breaks.
        width: columns of the terminal; None for as many as it takes.
        plain: only ASCII.

    >>> for line in lay_out(["class", "kept"], [["crocodile", "7"], ["ant", "12"]], 13):
    ...     print(line)
    class    kept
    crocodi…    7
    ant        12
    """
    lines = [columns, *rows]
    wide = [max(cells(line[number]) for line in lines) for number in range(len(columns))]
    gap = 2
    if width is not None:
        others = sum(wide[1:])
        gap = 2 if others + 2 * len(wide[1:]) + _NARROWEST <= width else 1
        wide[0] = min(wide[0], max(width - others - gap * len(wide[1:]), _NARROWEST))
    return [_line(line, wide, " " * gap, plain) for line in lines]


def _line(line: Sequence[str], wide: Sequence[int], gap: str, plain: bool) -> str:
    name = cut(line[0], wide[0], plain=plain)
    first = name + " " * (wide[0] - cells(name))
    others = [" " * (room - cells(cell)) + cell for cell, room in zip(line[1:], wide[1:], strict=True)]
    return gap.join([first, *others]).rstrip()
