"""Which samples of every class (or group) a report shows: the first few of each kind by some order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.seeds import derive
from dprune_cli.io.table_columns import StratumColumn, read_ok, read_strata
from dprune_cli.io.table_keys import KeyHashes
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.coverage import sort_strata
from dprune_cli.metrics.ranking import choose
from dprune_cli.stages.score_columns import Difficulty, find_difficulty, find_suspicion, read_values
from dprune_cli.stages.select import RANDOM, Selection
from dprune_cli.stages.select_strata import ties_among
from dprune_cli.stages.selection_cuts import find_cuts

# Pictures of a kind and class: more would be scrolled past.
MOST_OF_A_KIND = 7
# Chosen beyond those that are shown, in case an image is broken.
_RESERVE = 2


@dataclass(frozen=True)
class Kind:
    """A reason to show a sample.

    Attributes:
        name: in two or three words.
        meaning: what a reader should know of it, in a sentence.
        order: (N,) the smallest value comes first; NaN for samples that are not of this kind. None for
            a seeded random order of those `among`.
        among: (N,) the samples that are of this kind; None for all that have an order. Samples that cannot
            be used are of no kind, whatever it says of them.
    """

    name: str
    meaning: str
    order: NDArray[np.floating[Any]] | None
    among: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Shares:
    """How many pictures there are room for.

    Attributes:
        strata: numbers of the classes or groups that are shown: all of them ascending, of too many the
            worst first.
        kinds: of each, the first so many kinds are shown that it has samples of.
        each: pictures of a kind and stratum, at most.
        present: how many classes or groups there are, shown or not.
    """

    strata: list[int]
    kinds: int
    each: int
    present: int

    @property
    def most(self) -> int:
        """Pictures there may be in all."""
        return len(self.strata) * self.kinds * self.each


def share_room(worst_first: Sequence[int], kinds: int, room: int) -> Shares:
    """Share the room for pictures among the classes or groups.

    Every one gets pictures of all kinds; where that does not fit, one picture of the first kinds; where
    not even that fits, only the worst ones get any.

    Args:
        worst_first: the strata that have samples; at least one.
        kinds: how many kinds there are; at least one.
        room: pictures in all; at least one.

    >>> share_room([2, 0], 3, 12)
    Shares(strata=[0, 2], kinds=3, each=2, present=2)
    >>> share_room([2, 0, 1], 3, 7)
    Shares(strata=[0, 1, 2], kinds=2, each=1, present=3)
    >>> share_room([2, 0, 1], 3, 2)
    Shares(strata=[2], kinds=2, each=1, present=3)
    """
    strata = len(worst_first)
    if strata * kinds <= room:
        each = min(MOST_OF_A_KIND, room // (strata * kinds))
        return Shares(sorted(worst_first), kinds, each, strata)
    if strata <= room:
        return Shares(sorted(worst_first), room // strata, 1, strata)
    shown = min(kinds, room)
    return Shares(list(worst_first[: room // shown]), shown, 1, strata)


def choose_rows(
    table: TableView, strata: StratumColumn, kinds: Sequence[Kind], shares: Shares
) -> dict[tuple[int, str], list[int]]:
    """Rows by stratum and name of the kind, in the order in which they are to be shown.

    A few more than there is room for are chosen, because some of the images may be broken. Equal values
    are told apart by seeded hashes of the keys, so the order of the rows does not matter.
    """
    order, edges = sort_strata(strata.ids, len(strata.names), read_ok(table))
    hashes = KeyHashes(table, derive(0, "pictures"))
    found: dict[tuple[int, str], list[int]] = {}
    for number in shares.strata:
        rows = order[edges[number] : edges[number + 1]]
        of_kinds = ((kind.name, _first(rows, kind, shares.each + _RESERVE, hashes)) for kind in kinds)
        some = ((name, chosen) for name, chosen in of_kinds if chosen)
        found |= {(number, name): chosen for name, chosen in islice(some, shares.kinds)}
    return found


def _first(rows: NDArray[Any], kind: Kind, count: int, hashes: KeyHashes) -> list[int]:
    """The first `count` of some rows by the order of a kind."""
    able = rows if kind.among is None else rows[kind.among[rows]]
    values = np.zeros(len(able)) if kind.order is None else kind.order[able]
    known = ~np.isnan(values)
    able, values = able[known], values[known]
    first = choose(values, min(count, len(able)), ties_among(hashes, able), "low")
    able, values = able[first], values[first]
    return able[np.lexsort((hashes(able), values))].tolist()


def kinds_of_selection(found: Selection) -> list[Kind]:
    """Why samples of a selection are worth a look; the most telling kinds first."""
    table, keep = found.table, found.keep
    dropped = ~keep
    kinds = _by_difficulty(table, keep, dropped, drawn=_is_drawn(table))
    kinds += _suspects(table)
    cuts = find_cuts(found)
    if cuts is not None:
        near = f"nearest to the cut by {cuts.column}"
        kinds.append(Kind("just kept", f"kept, and {near}", cuts.distance, keep))
        kinds.append(Kind("just dropped", f"dropped, and {near}", cuts.distance, dropped))
    return kinds


def _is_drawn(table: TableView) -> bool:
    """Whether samples were drawn at random, whatever their scores."""
    step = table.meta.last_step("select")
    return RANDOM in (step.get("by"), step.get("pick"))


def _by_difficulty(
    table: TableView, keep: NDArray[np.bool_], dropped: NDArray[np.bool_], *, drawn: bool
) -> list[Kind]:
    hard = find_difficulty(table)
    if hard is None:
        return [
            Kind("kept", "some of the kept samples, drawn at random", None, keep),
            Kind("dropped", "some of the dropped samples, drawn at random", None, dropped),
        ]
    order = _hardest_first(table, hard)
    end = f"{hard.end} {hard.column}"
    first, last = f"the hardest: {end}", f"the easiest: the other end of {end}"
    if drawn:
        chance = "Samples were drawn at random, and {} only sorts these pictures. Of those {}, {}".format
        return [
            Kind("hardest kept", chance(hard.column, "kept", first), order, keep),
            Kind("easiest dropped", chance(hard.column, "dropped", last), -order, dropped),
        ]
    return [
        Kind("hardest kept", f"kept, and {first}", order, keep),
        Kind("easiest dropped", f"dropped, and {last}", -order, dropped),
    ]


def _suspects(table: TableView) -> list[Kind]:
    suspicion = find_suspicion(table)
    if suspicion is None:
        return []
    end = {"high": "highest", "low": "lowest"}[suspicion.end]
    meaning = f"{end} {suspicion.column}, kept or not: the label may be wrong"
    return [Kind("suspected label errors", meaning, _hardest_first(table, suspicion))]


def kinds_of_run(table: TableView) -> list[Kind]:
    """Why samples that a model was trained on are worth a look."""
    return _suspects(table)


def kinds_of_predictions(table: TableView, right: NDArray[np.bool_]) -> list[Kind]:
    """Why samples that a model was evaluated on are worth a look.

    Args:
        table: N rows with `loss`.
        right: (N,) those whose prediction is the label.
    """
    loss = read_values(table, "loss")
    return [
        Kind("confident mistakes", "predicted wrong with the highest loss", -loss, ~right),
        Kind("barely right", "predicted right with the highest loss", -loss, right),
    ]


def _hardest_first(table: TableView, hard: Difficulty) -> NDArray[np.floating[Any]]:
    values = read_values(table, hard.column)
    return -values if hard.end == "high" else values


def strata_of(table: TableView, by: str) -> StratumColumn:
    """The class or group of every row; all samples are one class where there are no labels."""
    if by == "class" and "label" not in table:
        return StratumColumn(np.zeros(len(table), np.int8), ["all"])
    return read_strata(table, by, read_ok(table))
