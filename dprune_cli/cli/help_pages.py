"""Help pages that can be read in a narrow terminal, and that end with lines to copy."""

from __future__ import annotations

import copy
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Below that, boxes leave too little room for what is in them.
_NARROW = 60
_INDENT = "    "


class CommandPage(TyperCommand):
    """A command whose help ends with its epilog: text that is wrapped, and indented lines that are not."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page."""
        width = shutil.get_terminal_size().columns
        if width < _NARROW:
            typer.echo("\n".join(plain_page(self, ctx, width)))
        else:
            page = copy.copy(self)
            page.epilog = None
            super(CommandPage, page).format_help(ctx, formatter)
            typer.echo()
        if self.epilog:
            typer.echo("\n".join(lay_out_epilog(self.epilog, width)))


class GroupPage(TyperGroup):
    """The same for a group of commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page."""
        width = shutil.get_terminal_size().columns
        if width >= _NARROW:
            super().format_help(ctx, formatter)
            return
        lines = [*plain_page(self, ctx, width), "Commands:"]
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                lines += [f"  {name}", *_wrap(command.get_short_help_str(10_000), width)]
        typer.echo("\n".join(lines))


def plain_page(command: Any, context: Any, width: int) -> list[str]:
    """A help page without boxes: every option on a line of its own, what it does below it."""
    lines = [*_fill(command.get_usage(context), width), "", *_fill(command.help or "", width), ""]
    for title, is_argument in (("Arguments:", True), ("Options:", False)):
        wanted = [
            one for one in command.get_params(context) if (one.param_type_name == "argument") == is_argument
        ]
        records = [record for one in wanted if (record := one.get_help_record(context)) is not None]
        if records:
            lines.append(title)
            for names, about in records:
                lines += [*_fill(names, width, "  "), *_wrap(about, width)]
            lines.append("")
    return lines


def lay_out_epilog(epilog: str, width: int) -> list[str]:
    r"""The lines of an epilog: a paragraph of examples as it stands, the others wrapped.

    >>> lay_out_epilog("One two\nthree.\n\nExamples:\n  a long line to copy", 10)
    ['One two', 'three.', '', 'Examples:', '  a long line to copy']
    """
    paragraphs = [_lay_out(paragraph, width) for paragraph in epilog.strip("\n").split("\n\n")]
    return [line for paragraph in paragraphs for line in ["", *paragraph]][1:]


def _lay_out(paragraph: str, width: int) -> Iterator[str]:
    if paragraph.startswith("Examples:"):
        yield from paragraph.split("\n")
    else:
        yield from _fill(paragraph, width)


def _fill(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _wrap(text: str, width: int) -> list[str]:
    return _fill(text, width, _INDENT)
