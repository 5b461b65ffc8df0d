"""What a report is made of before it is HTML: plain facts in blocks, which `page` draws.

A block holds values, never markup: names, keys and numbers are escaped where they are drawn. The one
exception is the SVG of a `Figure`, which `figures` makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | None

Kind = Literal["text", "count", "fraction", "number"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a `Grid`.

    Attributes:
        name: its heading.
        kind: how a value is written: a count as 12,345, a fraction in [0, 1] as 34.5 %.
        bar: whether a bar is drawn beside the value: of a fraction up to 1, else up to the largest value.
    """

    name: str
    kind: Kind = "text"
    bar: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table that readers sort by any column, and of which they find rows by name.

    Attributes:
        title: its heading.
        columns: the first one names the rows.
        rows: a value a column; None where it is not known.
        caption: what to look at, in a sentence; may be empty.
        marked: numbers of the rows that deserve a second look.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    caption: str = ""
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot.

    Attributes:
        title: its heading.
        svg: an `<svg>` element that needs nothing from elsewhere.
        caption: what to look at, in a sentence.
    """

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A sample of a gallery.

    Attributes:
        key: the sample key.
        name: its class or group.
        kind: why it is shown; one of the gallery's `kinds`.
        image: an encoded thumbnail.
        media: its media type, such as `image/jpeg`.
        facts: what is known of the sample, by name: scores, a prediction.
    """

    key: str
    name: str
    kind: str
    image: bytes
    media: str = "image/jpeg"
    facts: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures, of which readers see those of the class (or group) that they choose.

    Attributes:
        title: its heading.
        by: `class` or `group`, what they choose from.
        names: what there is to choose, the first one chosen to begin with.
        kinds: reasons to show a picture, in the order in which they are shown, with what each means.
        pictures: the samples; those of a kind and name in the order in which they are shown.
        caption: what to look at, in a sentence.
    """

    title: str
    by: str
    names: Sequence[str]
    kinds: Mapping[str, str]
    pictures: Sequence[Picture]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and values, a line each; whole numbers are written without separators, as seeds are."""

    title: str
    values: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands that a reader may copy and run again, each followed by what there is to say of it."""

    title: str
    commands: Sequence[tuple[str, str]]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Warnings:
    """What deserves a second look, a line each."""

    lines: Sequence[str]


Block = Grid | Figure | Gallery | Facts | Commands | Warnings


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report with a heading, which the table of contents names."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report.

    Attributes:
        title: what it is about, such as the command and the data.
        figures: the few numbers that matter most, by name, already written as people read them.
        sections: its parts.
    """

    title: str
    figures: Mapping[str, str]
    sections: Sequence[Section]
