"""What the template needs beside the blocks: rows with the lengths of their bars, galleries in order.

Everything is here a value still; `templates/` makes it HTML.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from dprune_cli.report.blocks import Block, Column, Figure, Gallery, Grid, Picture, Report, Value
from dprune_cli.report.wording import as_number, is_unknown, written

# More rows than these are found by a filter, and shown when the reader asks for them.
LONG = 25

# So few columns leave room for wide ones on a wide screen.
ROOMY = 5
# The length of names that leave room for longer bars.
SHORT = 24

# The part of a gallery that shows a class or group, by `class` or `group` and its name.
Links = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class DrawnCell:
    """A value of a grid.

    Attributes:
        text: as people read it.
        kind: of its column.
        value: the number to sort by; None for text, which is its own; "" where it is not known.
        bar: how long its bar is, of the longest; None for no bar.
    """

    text: str
    kind: str
    value: str | None
    bar: str | None


@dataclass(frozen=True)
class DrawnRow:
    """A row of a grid; `link` is the part of a gallery that shows what the row is about, if there is one."""

    cells: Sequence[DrawnCell]
    marked: bool
    link: str | None


@dataclass(frozen=True)
class DrawnGrid:
    """A grid and its rows; a `long` one is not shown whole at once."""

    grid: Grid
    rows: Sequence[DrawnRow]
    shape: str = "grid"

    @property
    def long(self) -> bool:
        """Whether only its first rows are shown to begin with."""
        return len(self.rows) > LONG

    @property
    def roomy(self) -> bool:
        """Whether its columns may be wide where there is room."""
        return len(self.grid.columns) <= ROOMY

    @property
    def short(self) -> bool:
        """Whether all of its rows have short names."""
        return all(len(row.cells[0].text) <= SHORT for row in self.rows)


@dataclass(frozen=True)
class DrawnPicture:
    """A picture; `source` is its data URI, or None if the element `anchor` shows the same bytes already."""

    picture: Picture
    anchor: str
    source: str | None


@dataclass(frozen=True)
class DrawnName:
    """What a gallery has of a name: for each kind, what it means, and the pictures."""

    anchor: str
    name: str
    kinds: Sequence[tuple[str, str, Sequence[DrawnPicture]]]


@dataclass(frozen=True)
class DrawnGallery:
    """A gallery in the order in which it is shown."""

    gallery: Gallery
    anchor: str
    names: Sequence[DrawnName]
    shape: str = "gallery"


@dataclass(frozen=True)
class DrawnFigures:
    """Plots that follow each other, which stand side by side where there is room."""

    figures: Sequence[Figure]
    shape: str = "figures"


@dataclass(frozen=True)
class DrawnBlock:
    """A block that needs nothing else; `shape` names the macro that draws it."""

    block: Block
    shape: str


Drawn = DrawnGrid | DrawnGallery | DrawnFigures | DrawnBlock


@dataclass(frozen=True)
class DrawnSection:
    """A section and its blocks as they are drawn."""

    anchor: str
    title: str
    blocks: Sequence[Drawn]


def draw_sections(report: Report) -> list[DrawnSection]:
    """The sections of a report as the template takes them.

    Raises:
        ValueError: a row has not a value a column, or a picture is of a name or kind that its gallery lacks.
    """
    galleries = list(_draw_galleries(report))
    links = {
        (drawn.gallery.by.lower(), part.name): part.anchor
        for drawn in reversed(galleries)
        for part in drawn.names
    }
    waiting = iter(galleries)
    return [
        DrawnSection(f"section-{number}", section.title, list(_draw_blocks(section.blocks, links, waiting)))
        for number, section in enumerate(report.sections, start=1)
    ]


def _draw_blocks(blocks: Sequence[Block], links: Links, galleries: Iterator[DrawnGallery]) -> Iterator[Drawn]:
    for kind, run in groupby(blocks, type):
        if kind is Figure:
            yield DrawnFigures([block for block in run if isinstance(block, Figure)])
            continue
        for block in run:
            if isinstance(block, Grid):
                yield draw_grid(block, links)
            elif isinstance(block, Gallery):
                yield next(galleries)
            else:
                yield DrawnBlock(block, kind.__name__.lower())


def draw_grid(grid: Grid, links: Links) -> DrawnGrid:
    """A grid with the lengths of its bars; its rows link to the first gallery that shows what they name."""
    by = grid.columns[0].name.lower()
    if any(len(row) != len(grid.columns) for row in grid.rows):
        raise ValueError(f"{grid.title}: every row needs {len(grid.columns)} values")
    longest = [_longest(column, [row[at] for row in grid.rows]) for at, column in enumerate(grid.columns)]
    return DrawnGrid(
        grid,
        [
            DrawnRow(
                [draw_cell(*each) for each in zip(row, grid.columns, longest, strict=True)],
                number in grid.marked,
                links.get((by, str(row[0]))),
            )
            for number, row in enumerate(grid.rows)
        ],
    )


def draw_cell(value: Value, column: Column, longest: float) -> DrawnCell:
    """A value as it is written, sorted and measured; `longest` is the value of a whole bar."""
    number = as_number(value)
    if not is_unknown(value) and (number is None or column.kind == "text"):
        return DrawnCell(written(value), column.kind, None, None)
    bar = None
    if column.bar and number is not None:
        share = min(max(number / longest, 0.0), 1.0) if longest > 0 else 0.0
        bar = f"{share:.3f}"
    return DrawnCell(written(value, column.kind), column.kind, _plain(number), bar)


def _longest(column: Column, values: Sequence[Value]) -> float:
    if column.kind == "fraction":
        return 1.0
    return max((number for value in values if (number := as_number(value)) is not None), default=0.0)


def _plain(number: float | None) -> str:
    """A number as JavaScript reads it, with all digits of a float32."""
    if number is None:
        return ""
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return str(number) if isinstance(number, int) else f"{number:.9g}"


def _draw_galleries(report: Report) -> Iterator[DrawnGallery]:
    seen: dict[bytes, str] = {}
    blocks = (block for section in report.sections for block in section.blocks)
    galleries = (block for block in blocks if isinstance(block, Gallery))
    for number, gallery in enumerate(galleries, start=1):
        yield draw_gallery(gallery, f"gallery-{number}", seen)


def draw_gallery(gallery: Gallery, anchor: str, seen: dict[bytes, str]) -> DrawnGallery:
    """A gallery by name and kind.

    Args:
        gallery: it.
        anchor: what it is called on the page.
        seen: pictures that the page has already, and the elements that show them; filled.
    """
    shelves: dict[tuple[str, str], list[Picture]] = {
        (name, kind): [] for name in gallery.names for kind in gallery.kinds
    }
    for picture in gallery.pictures:
        if (picture.name, picture.kind) not in shelves:
            raise ValueError(f"{gallery.title}: no {gallery.by} {picture.name!r} or kind {picture.kind!r}")
        shelves[picture.name, picture.kind].append(picture)
    names = []
    for number, name in enumerate(gallery.names, start=1):
        kinds = [
            (kind, meaning, [_draw_picture(picture, seen) for picture in shelves[name, kind]])
            for kind, meaning in gallery.kinds.items()
            if shelves[name, kind]
        ]
        names.append(DrawnName(f"{anchor}-{number}", name, kinds))
    return DrawnGallery(gallery, anchor, names)


def _draw_picture(picture: Picture, seen: dict[bytes, str]) -> DrawnPicture:
    if picture.image in seen:
        return DrawnPicture(picture, seen[picture.image], None)
    anchor = seen[picture.image] = f"picture-{len(seen) + 1}"
    data = base64.b64encode(picture.image).decode("ascii")
    return DrawnPicture(picture, anchor, f"data:{picture.media};base64,{data}")
