"""`dprune select`: which samples are kept.

What they are picked within is in `select_strata.py`, what is left out beforehand in `select_cutoff.py`, the
weights of what is kept in `select_weights.py`, and what is written from it in `select_outputs.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.budget import Budget
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES
from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.info import End
from dprune_cli.core.progress import Progress
from dprune_cli.core.registry import parameters
from dprune_cli.io.arrow import dictionary, from_numpy
from dprune_cli.io.keys import draw_seed
from dprune_cli.io.outputs import STDOUT, check_output, check_stdout_is_no_terminal
from dprune_cli.io.remote import Place
from dprune_cli.io.table_columns import read_numbers, read_ok, read_strata
from dprune_cli.io.table_keys import KeyHashes, check_keys
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.coverage import Coverage, correlate, cover
from dprune_cli.pickers.base import PICKERS, EndPicker, Picker
from dprune_cli.stages.select_cutoff import cut_hardest, hard_end, with_end
from dprune_cli.stages.select_strata import Strata, find_strata, quota_by, ties_among, values_of
from dprune_cli.stages.select_weights import WEIGHT, weigh, without_old_weights

RANDOM = "random"
# Why a sample is not kept; the first that holds.
REASONS = ["status", "no_score", "cutoff", "rank"]
_STATUS, _NO_SCORE, _CUTOFF, _RANK, _KEPT = range(5)

WantedEnd = Literal["high", "low", "middle", "hard", "easy"]


@dataclass(frozen=True, kw_only=True)
class SelectRequest:
    """What `dprune select` was asked for; see its options."""

    by: str
    keep: Budget | None = None
    pick: str | None = None
    end: WantedEnd | None = None
    everywhere: bool = False
    weight_by: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SelectOutputs:
    """Where the kept samples go; see the options of `dprune select`."""

    shards: str | None = None
    folder: Place | None = None
    keys: Place | None = None
    data: Sequence[str] = ()
    shuffle: bool = False
    shard_samples: int = SHARD_SAMPLES
    shard_bytes: int = SHARD_BYTES
    seed: int = 0
    force: bool = False

    def verify(self) -> None:
        """Refuse what could not be written, before any work is done."""
        if self.shard_samples < 1 or self.shard_bytes < 1:
            raise UsageError("--shard-samples and --shard-bytes must be at least 1")
        if self.shards == STDOUT:
            check_stdout_is_no_terminal("a tar stream", "--shards")
        for path in (self.shards if self.shards != STDOUT else None, self.folder):
            if path is not None:
                check_output(path, force=self.force, folder=True)
        if self.keys is not None:
            check_output(self.keys, force=self.force)

    @property
    def any(self) -> bool:
        """Whether anything is to be written besides the table."""
        return self.needs_data or self.keys is not None

    @property
    def needs_data(self) -> bool:
        """Whether the samples themselves are wanted, not only their names."""
        return self.shards is not None or self.folder is not None


@dataclass(frozen=True)
class Left:
    """What a selection leaves of every class, or of every group.

    Attributes:
        by: `class` or `group`.
        names: S names by id.
        coverage: samples of each before and after.
        correlation: of density with validation recall; None where it is not known.
    """

    by: str
    names: list[str]
    coverage: Coverage
    correlation: float | None

    def as_json(self) -> dict[str, dict[str, int]]:
        """Available and kept samples by name."""
        numbers = zip(self.names, self.coverage.available.tolist(), self.coverage.kept.tolist(), strict=True)
        return {name: {"available": available, "kept": kept} for name, available, kept in numbers}


@dataclass(frozen=True)
class Selection:
    """A table with `keep` and `reason`, and what is left.

    Attributes:
        table: all samples, kept or not.
        outcomes: (N,) uint8, why a row is not kept, as numbers into `REASONS`, or the number after these.
        classes: what is left of every class.
        groups: what is left of every group, if the quotas were those of groups.
    """

    table: TableView
    outcomes: NDArray[np.uint8]
    classes: Left
    groups: Left | None = None

    @property
    def keep(self) -> NDArray[np.bool_]:
        """(N,) the kept rows."""
        return self.outcomes == _KEPT

    def as_json(self) -> dict[str, Any]:
        """The summary as users read it with `--json`."""
        names, coverage = self.classes.names, self.classes.coverage
        smallest = coverage.smallest
        found = {
            "kept": int(coverage.kept.sum()),
            "available": int(coverage.available.sum()),
            "smallest_class": None if smallest is None else names[smallest],
            "empty_classes": [names[number] for number in coverage.empty],
            "density_recall_correlation": (self.groups or self.classes).correlation,
            "classes": self.classes.as_json(),
        }
        return found | ({"groups": self.groups.as_json()} if self.groups else {})


def select(table: TableView, request: SelectRequest, progress: Progress) -> Selection:
    """Add the columns `keep` and `reason`, and `weight` if asked for.

    Within the quotas of the table if it has any, else `--keep` of all samples.

    Raises:
        UsageError: no budget, a picker or end that does not exist, or an end that the picker does not keep.
        DataError: a column that is needed is missing or holds NaN, a key stands there twice, a weight
            would be negative or infinite.
        BudgetError: a quota, or the budget, is more than can be picked.
    """
    seed = draw_seed(request.seed, check_keys(table))
    ok = read_ok(table)
    picker = _picker(table, request)
    values = read_numbers(table, request.by) if picker.needs_values else None
    picker = _oriented(picker, table, request, progress)
    strata = find_strata(table, ok, request.keep, everywhere=request.everywhere)
    outcomes = _first_outcomes(ok, values)
    scored = int(np.count_nonzero(outcomes == _RANK))
    cutoff = _leave_out(picker, table, outcomes, strata, seed)
    _pick(table, picker, values, outcomes, strata, request, seed)
    if cutoff is not None:
        progress.note(
            f"left out {cutoff['samples']} of {scored} samples, the hardest by {cutoff['by']!r} "
            f"({cutoff['end']} end)"
        )
    if "keep" in table:
        progress.note(f"{table.source} holds a selection already; it is replaced")
    keep = outcomes == _KEPT
    step = {
        "by": request.by,
        "pick": picker.info.name,
        "parameters": parameters(picker),
        "keep": request.keep.text if request.keep else None,
        "seed": request.seed,
        "global": request.everywhere or None,
        "cutoff": cutoff,
        "weight_by": request.weight_by,
    }
    by_group = "quota" in table and not request.everywhere and quota_by(table) == "group"
    table = _with_columns(table, outcomes, request.weight_by, progress)
    return Selection(
        table.with_meta(table.meta.with_step("select", **step)),
        outcomes,
        find_left(table, "class", keep, ok) if "label" in table else _everything(keep, ok),
        find_left(table, "group", keep, ok) if by_group else None,
    )


def _first_outcomes(ok: NDArray[np.bool_], values: NDArray[Any] | None) -> NDArray[np.uint8]:
    """(N,) uint8: `_STATUS`, `_NO_SCORE`, or `_RANK` for all whom only a cutoff or their rank may exclude."""
    outcomes = np.full(len(ok), _RANK, np.uint8)
    if values is not None:
        outcomes[np.isnan(values)] = _NO_SCORE
    outcomes[~ok] = _STATUS
    return outcomes


def _picker(table: TableView, request: SelectRequest) -> Picker:
    """The picker that is asked for; `--by random` is the seeded hash, whatever columns there are."""
    if request.by == RANDOM and request.pick in (None, RANDOM):
        if request.end is not None:
            raise UsageError("--by random has no end to keep; drop --end, or give --pick top for the column")
        return PICKERS.make(RANDOM)
    if request.by == RANDOM and RANDOM not in table:
        raise UsageError(f"--pick {request.pick} needs a column; --by random has none")
    picker = PICKERS.make(request.pick or "top")
    if request.end is not None and not isinstance(picker, EndPicker):
        raise UsageError(f"--pick {picker.info.name} keeps no end of a column; drop --end")
    if request.end is not None and isinstance(picker, EndPicker) and picker.end is not None:
        raise UsageError(f"--end {request.end} and end={picker.end} of --pick: give one of them")
    return picker


def _oriented(picker: Picker, table: TableView, request: SelectRequest, progress: Progress) -> Picker:
    """The picker with the end of the column that it keeps, if it keeps one."""
    if not isinstance(picker, EndPicker) or picker.end is not None:
        return picker
    if request.end is None:
        return picker.oriented(table.keep_first(request.by, progress))
    if request.end in ("hard", "easy"):
        return picker.oriented(_difficulty_end(table, request.by, request.end))
    return picker.oriented(cast(End, request.end))


def _difficulty_end(table: TableView, column: str, wanted: str) -> End:
    hard = hard_end(table, column)
    if hard is None:
        raise UsageError(
            f"{table.source} does not say which end of {column!r} is hard; give --end high or low"
        )
    return "high" if (hard == "high") == (wanted == "hard") else "low"


def _leave_out(
    picker: Picker, table: TableView, outcomes: NDArray[np.uint8], strata: Strata, seed: int
) -> dict[str, Any] | None:
    """Mark what the picker wants left out; what the step records of that, None for no cutoff."""
    cutoff = picker.leave_out()
    if cutoff is None:
        return None
    cutoff = with_end(cutoff, table)
    cut = cut_hardest(table, cutoff, outcomes == _RANK, strata, seed)
    outcomes[cut] = _CUTOFF
    return {"by": cutoff.by, "end": cutoff.end, "samples": int(np.count_nonzero(cut))}


def _pick(
    table: TableView,
    picker: Picker,
    values: NDArray[Any] | None,
    outcomes: NDArray[np.uint8],
    strata: Strata,
    request: SelectRequest,
    seed: int,
) -> None:
    """Mark what is kept: in every stratum its quota, of those that only their rank may exclude."""
    hashes = KeyHashes(table, seed)
    for number, rows in enumerate(strata.split(outcomes == _RANK)):
        count = int(strata.quotas[number])
        if count > len(rows):
            why = _why_fewer(outcomes[strata.members(number)], request.by)
            raise BudgetError(
                f"{table.source}: {count} samples of {strata.names[number]!r} are to be kept, but only "
                f"{len(rows)} can be picked{why}"
            )
        if count:
            own = None if values is None else values_of(values, rows)
            outcomes[rows[picker.pick(own, count, ties_among(hashes, rows), len(rows))]] = _KEPT


def _why_fewer(reasons: NDArray[np.uint8], by: str) -> str:
    """What a message says of the samples of a stratum that could not be picked whatever their rank."""
    lacking, cut = (int(np.count_nonzero(reasons == reason)) for reason in (_NO_SCORE, _CUTOFF))
    return (f"; {lacking} have no {by!r}: keep less, or go by another column" if lacking else "") + (
        f"; the cutoff leaves out {cut}: lower it, or keep less" if cut else ""
    )


def _with_columns(
    table: TableView, outcomes: NDArray[np.uint8], weight_by: str | None, progress: Progress
) -> TableView:
    """The table with this selection, and with its weights, but never with those of an earlier one."""

    def keep(rows: slice) -> pa.Array:
        return from_numpy(outcomes[rows] == _KEPT)

    def reason(rows: slice) -> pa.Array:
        return dictionary(outcomes[rows], REASONS, outcomes[rows] == _KEPT)

    if weight_by is None:
        return without_old_weights(table, progress).with_computed(keep=keep, reason=reason)
    weights = weigh(table, outcomes == _KEPT, weight_by)

    def weight(rows: slice) -> pa.Array:
        return from_numpy(weights[rows], outcomes[rows] != _KEPT)

    if WEIGHT in table:
        progress.note(f"{table.source} holds weights already; they are replaced")
    return table.with_computed(weight=weight).with_computed(keep=keep, reason=reason)


def find_left(table: TableView, by: str, keep: NDArray[np.bool_], ok: NDArray[np.bool_]) -> Left:
    """What a selection leaves of every class, or of every group.

    Args:
        table: N rows.
        by: `class` or `group`.
        keep: (N,) the kept rows.
        ok: (N,) rows that may be kept.
    """
    strata = read_strata(table, by, ok)
    names = strata.names
    coverage = cover(strata.ids, keep, len(names), ok)
    quota = table.meta.last_step("quota")
    recall = quota.get("recall") if quota.get("by", "class") == by else None
    known = recall is not None and len(recall) == len(names)
    correlation = correlate(coverage.density, np.array(recall, np.float64)) if known else None
    return Left(by, names, coverage, correlation)


def _everything(keep: NDArray[np.bool_], ok: NDArray[np.bool_]) -> Left:
    """Of a table without labels: all samples are one class."""
    return Left("class", ["all"], cover(np.zeros(len(ok), np.uint8), keep, 1, ok), None)
