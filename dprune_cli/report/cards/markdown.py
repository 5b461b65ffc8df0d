"""Text and tables as Markdown, in which names from the data are nothing but text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from dprune_cli.report.wording import visible

# `&`, `<` and `>` become entities; readers differ in whether a backslash takes their meaning away.
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:@^=])")


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> plain("a_b|<i>"), plain("x\ny")
    ('a\\_b\\|&lt;i&gt;', 'x\\\\ny')
    """
    return html.escape(_MARKS.sub(r"\\\1", visible(text)), quote=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its first column aligned to the left, the others to the right.

    Args:
        columns: headings.
        rows: cells, as Markdown.
    """
    marks = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, marks, *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def fenced(text: str, language: str = "") -> str:
    """Text as a block of code; the fence is longer than any in it."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"
