"""Pictures of the samples that are worth a look, by class and by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DpruneError
from dprune_cli.io.arrow import to_numpy
from dprune_cli.io.table import ScoreTable
from dprune_cli.io.table_columns import StratumColumn, read_ok
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.coverage import count_strata
from dprune_cli.report.blocks import Block, Gallery, Picture, Section, Value, Warnings
from dprune_cli.stages.picture_choice import Kind, Shares, choose_rows, share_room, strata_of
from dprune_cli.stages.pictures import check_places, read_thumbnails
from dprune_cli.stages.sample_places import load_rows
from dprune_cli.stages.score_columns import score_columns

MOST_PICTURES = 1200
# Where there are groups too, they get this part of it.
_FOR_GROUPS = 200

Chosen = dict[tuple[int, str], list[int]]


def pictures_section(
    table: TableView,
    kinds: Sequence[Kind],
    data: Sequence[str] = (),
    worst: dict[str, NDArray[np.float64]] | None = None,
) -> Section:
    """The section of pictures; one sentence where they cannot be had.

    Args:
        table: N rows.
        kinds: reasons to show a sample, the most telling first; at least one.
        data: where the samples are, if not where they were scored.
        worst: by `class` and `group`, (S,) the smaller the worse, for where not all can be shown.
    """
    try:
        # Before samples are chosen, which takes a while.
        check_places(table)
        galleries = _plan(table, kinds, worst or {})
        thumbnails = _read(table, galleries, data)
    except (DpruneError, OSError) as error:
        return _none(str(error))
    if not thumbnails:
        return _none("there is no sample whose image can be decoded")
    facts = _Facts(table, np.array(sorted(thumbnails), np.int64))
    blocks: list[Block] = [
        _gallery(by, strata, shares, found, kinds, thumbnails, facts)
        for (by, strata, shares, found) in galleries
    ]
    return Section(title="Pictures", blocks=blocks)


def _read(
    table: TableView, galleries: Sequence[tuple[str, StratumColumn, Shares, Chosen]], data: Sequence[str]
) -> dict[int, bytes]:
    """The thumbnails of the chosen rows; where an image is broken, the next one is taken."""
    found: dict[int, bytes] = {}
    tried: set[int] = set()
    room = sum(shares.most for _, _, shares, _ in galleries)
    while True:
        wanted = {
            row
            for _, _, shares, chosen in galleries
            for rows in chosen.values()
            for row in [row for row in rows if row in found or row not in tried][: shares.each]
        }
        if wanted <= tried:
            return found
        rows = np.array(sorted(wanted - tried), np.int64)
        found |= read_thumbnails(table, rows, data, room)
        tried |= wanted


def _none(why: str) -> Section:
    return Section(title="Pictures", blocks=[Warnings(lines=[f"No pictures are shown: {why}."])])


def _plan(
    table: TableView, kinds: Sequence[Kind], worst: dict[str, NDArray[np.float64]]
) -> list[tuple[str, StratumColumn, Shares, Chosen]]:
    """What is shown by class, and by group if the table has any."""
    ok = read_ok(table)
    grouped = "group" in table
    found = []
    for by in ("class", "group") if grouped else ("class",):
        try:
            strata = strata_of(table, by)
        except DpruneError:
            continue  # usable samples without a group, say
        present = np.flatnonzero(count_strata(strata.ids, len(strata.names), ok))
        if not len(present):
            continue
        room = MOST_PICTURES if not grouped else _FOR_GROUPS if by == "group" else MOST_PICTURES - _FOR_GROUPS
        badness = worst.get(by, np.zeros(len(strata.names)))[present]
        order = present[np.argsort(np.nan_to_num(badness, nan=np.inf), kind="stable")]
        shares = share_room(order.tolist(), len(kinds), room)
        found.append((by, strata, shares, choose_rows(table, strata, kinds, shares)))
    return found


def _gallery(
    by: str,
    strata: StratumColumn,
    shares: Shares,
    chosen: Chosen,
    kinds: Sequence[Kind],
    thumbnails: dict[int, bytes],
    facts: _Facts,
) -> Gallery:
    pictures = []
    for (number, kind), rows in chosen.items():
        for row in [row for row in rows if row in thumbnails][: shares.each]:
            key, known = facts.of(row, by)
            pictures.append(
                Picture(key=key, name=strata.names[number], kind=kind, image=thumbnails[row], facts=known)
            )
    used = {kind for _, kind in chosen}
    return Gallery(
        title=f"Pictures by {by}",
        by=by,
        names=[strata.names[number] for number in shares.strata],
        kinds={kind.name: kind.meaning for kind in kinds if kind.name in used},
        pictures=pictures,
        caption=_caption(by, shares, whole=shares.kinds == len(kinds)),
    )


def _caption(by: str, shares: Shares, *, whole: bool) -> str:
    plural = "classes" if by == "class" else "groups"
    said = []
    if len(shares.strata) < shares.present:
        said.append(f"{len(shares.strata):,} of {shares.present:,} {plural} are shown, the worst ones.")
    if not whole:
        said.append(f"With so many {plural} there is room for {shares.kinds} of the kinds of each.")
    return " ".join(said)


class _Facts:
    """What is known of some rows of a table, read once."""

    def __init__(self, table: TableView, rows: NDArray[np.int64]) -> None:
        self._place = {row: place for place, row in enumerate(rows.tolist())}
        self._scores = score_columns(table)
        columns = dict.fromkeys(["key", "label", "group", "pred", "keep", *self._scores])
        self._some = load_rows(table, rows, list(columns))
        self._keys = self._some.data["key"].to_pylist()
        self._named = {
            name: _names(self._some, column, by)
            for name, column, by in (
                ("label", "label", "class"),
                ("group", "group", "group"),
                ("predicted", "pred", "class"),
            )
            if column in table
        }
        self._kept = _booleans(self._some, "keep") if "keep" in table else None
        self._values = {name: self._some.data[name].to_pylist() for name in self._scores}

    def of(self, row: int, by: str) -> tuple[str, dict[str, Value]]:
        """The key of a row and what to say of it in a gallery by class or group."""
        place = self._place[row]
        said: dict[str, Value] = {
            name: names[place]
            for name, names in self._named.items()
            if name != {"class": "label", "group": "group"}[by]
        }
        if self._kept is not None:
            said["kept"] = "yes" if self._kept[place] else "no"
        return self._keys[place], said | {name: values[place] for name, values in self._values.items()}


def _names(some: ScoreTable, column: str, by: str) -> list[str | None]:
    names = some.meta.classes if by == "class" else some.meta.groups
    return [
        None if number < 0 else names[number] if number < len(names) else str(number)
        for number in some.integers(column).tolist()
    ]


def _booleans(some: ScoreTable, column: str) -> NDArray[np.bool_]:
    values, null = to_numpy(some.data[column])
    return values & ~null
