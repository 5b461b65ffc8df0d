"""`dprune select`: which samples are kept.

What they are picked within is in `select_strata.py`, what is left out beforehand in `select_cutoff.py`, the
weights of what is kept in `select_weights.py`, and what is written from it in `select_outputs.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.budget import Budget
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES
from dprune_cli.core.errors import BudgetError, UsageError
from dprune_cli.core.info import End
from dprune_cli.core.progress import Progress
from dprune_cli.core.registry import parameters
from dprune_cli.io.arrow import dictionary, from_numpy, to_numpy
from dprune_cli.io.keys import draw_seed
from dprune_cli.io.outputs import STDOUT, check_output, check_stdout_is_no_terminal
from dprune_cli.io.table import ScoreTable, check_keys
from dprune_cli.metrics.coverage import Coverage, correlate, cover
from dprune_cli.pickers.base import PICKERS, EndPicker, Picker
from dprune_cli.stages.select_cutoff import cut_hardest, hard_end, with_end
from dprune_cli.stages.select_strata import Strata, find_strata, hashes_of, quota_by
from dprune_cli.stages.select_weights import WEIGHT, weigh, without_old_weights

RANDOM = "random"
# Why a sample is not kept; the first that holds.
REASONS = ["status", "no_score", "cutoff", "rank"]
_STATUS, _NO_SCORE, _CUTOFF, _RANK = range(4)

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
    folder: Path | None = None
    keys: Path | None = None
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
        classes: what is left of every class.
        groups: what is left of every group, if the quotas were those of groups.
    """

    table: ScoreTable
    classes: Left
    groups: Left | None = None

    @property
    def keep(self) -> NDArray[np.bool_]:
        """(N,) the kept rows."""
        return to_numpy(self.table.data["keep"])[0]

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


def select(table: ScoreTable, request: SelectRequest, progress: Progress) -> Selection:
    """Add the columns `keep` and `reason`, and `weight` if asked for.

    Within the quotas of the table if it has any, else `--keep` of all samples.

    Raises:
        UsageError: no budget, a picker or end that does not exist, or an end that the picker does not keep.
        DataError: a column that is needed is missing or holds NaN, a key stands there twice, a weight
            would be negative or infinite.
        BudgetError: a quota, or the budget, is more than can be picked.
    """
    seed = draw_seed(request.seed, check_keys(table))
    ok = table.ok()
    picker = _picker(table, request)
    values = table.numbers(request.by) if picker.needs_values else None
    picker = _oriented(picker, table, request, progress)
    scored = ok if values is None else ok & ~np.isnan(values)
    strata = find_strata(table, ok, request.keep, everywhere=request.everywhere)
    cut, cutoff = _leave_out(picker, table, np.flatnonzero(scored), strata, seed)
    reasons = np.select([~ok, ~scored, cut], [_STATUS, _NO_SCORE, _CUTOFF], _RANK).astype(np.int32)
    keep = np.zeros(len(table), bool)
    keep[_pick(table, picker, values, reasons, strata, request, seed)] = True
    if cutoff is not None:
        progress.note(
            f"left out {cutoff['samples']} of {scored.sum()} samples, the hardest by {cutoff['by']!r} "
            f"({cutoff['end']} end)"
        )
    if "keep" in table:
        progress.note(f"{table.source} holds a selection already; it is replaced")
    table = _with_weights(table, keep, request.weight_by, progress)
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
    return Selection(
        table.with_columns(keep=from_numpy(keep), reason=dictionary(reasons, REASONS, keep)).with_meta(
            table.meta.with_step("select", **step)
        ),
        _left(table, "class", keep, ok) if "label" in table else _everything(keep, ok),
        _left(table, "group", keep, ok) if by_group else None,
    )


def _picker(table: ScoreTable, request: SelectRequest) -> Picker:
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


def _oriented(picker: Picker, table: ScoreTable, request: SelectRequest, progress: Progress) -> Picker:
    """The picker with the end of the column that it keeps, if it keeps one."""
    if not isinstance(picker, EndPicker) or picker.end is not None:
        return picker
    if request.end is None:
        return picker.oriented(table.keep_first(request.by, progress))
    if request.end in ("hard", "easy"):
        return picker.oriented(_difficulty_end(table, request.by, request.end))
    return picker.oriented(cast(End, request.end))


def _difficulty_end(table: ScoreTable, column: str, wanted: str) -> End:
    hard = hard_end(table, column)
    if hard is None:
        raise UsageError(
            f"{table.source} does not say which end of {column!r} is hard; give --end high or low"
        )
    return "high" if (hard == "high") == (wanted == "hard") else "low"


def _leave_out(
    picker: Picker, table: ScoreTable, candidates: NDArray[np.int64], strata: Strata, seed: int
) -> tuple[NDArray[np.bool_], dict[str, Any] | None]:
    """(N,) rows that the picker wants left out, and what the step records of that; None for no cutoff."""
    cutoff = picker.leave_out()
    if cutoff is None:
        return np.zeros(len(table), bool), None
    cutoff = with_end(cutoff, table)
    cut = cut_hardest(table, cutoff, candidates, strata, seed)
    return cut, {"by": cutoff.by, "end": cutoff.end, "samples": int(cut.sum())}


def _pick(
    table: ScoreTable,
    picker: Picker,
    values: NDArray[np.float64] | None,
    reasons: NDArray[np.int32],
    strata: Strata,
    request: SelectRequest,
    seed: int,
) -> NDArray[np.int64]:
    """Rows that are kept: in every stratum its quota, of those that only their rank may exclude."""
    kept = []
    for number, rows in enumerate(strata.split(np.flatnonzero(reasons == _RANK))):
        count = int(strata.quotas[number])
        if count > len(rows):
            raise BudgetError(
                f"{table.source}: {count} samples of {strata.names[number]!r} are to be kept, but only "
                f"{len(rows)} can be picked{_why_fewer(reasons[strata.stratum == number], request.by)}"
            )
        if count == 0:
            continue
        own = None if values is None else values[rows]
        kept.append(rows[picker.pick(own, count, hashes_of(table, rows, seed), len(rows))])
    return np.concatenate(kept) if kept else np.empty(0, np.int64)


def _why_fewer(reasons: NDArray[np.int32], by: str) -> str:
    """What a message says of the samples of a stratum that could not be picked whatever their rank."""
    lacking, cut = (int(np.count_nonzero(reasons == reason)) for reason in (_NO_SCORE, _CUTOFF))
    return (f"; {lacking} have no {by!r}: keep less, or go by another column" if lacking else "") + (
        f"; the cutoff leaves out {cut}: lower it, or keep less" if cut else ""
    )


def _with_weights(
    table: ScoreTable, keep: NDArray[np.bool_], column: str | None, progress: Progress
) -> ScoreTable:
    """The table with the weights of this selection, and never with those of an earlier one."""
    if column is None:
        return without_old_weights(table, progress)
    weight = weigh(table, keep, column)
    if WEIGHT in table:
        progress.note(f"{table.source} holds weights already; they are replaced")
    return table.with_columns(weight=weight)


def _left(table: ScoreTable, by: str, keep: NDArray[np.bool_], ok: NDArray[np.bool_]) -> Left:
    stratum, names = table.strata(by), table.stratum_names(by)
    coverage = cover(stratum[ok], keep[ok], len(names))
    quota = table.meta.last_step("quota")
    recall = quota.get("recall") if quota.get("by", "class") == by else None
    known = recall is not None and len(recall) == len(names)
    correlation = correlate(coverage.density, np.array(recall, np.float64)) if known else None
    return Left(by, names, coverage, correlation)


def _everything(keep: NDArray[np.bool_], ok: NDArray[np.bool_]) -> Left:
    """Of a table without labels: all samples are one class."""
    return Left("class", ["all"], cover(np.zeros(int(ok.sum()), np.int64), keep[ok], 1), None)
