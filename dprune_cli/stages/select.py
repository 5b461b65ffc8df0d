"""`dprune select`: which samples are kept. What is written from them is in `select_outputs.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.budget import Budget
from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.core.info import End
from dprune_cli.core.progress import Progress
from dprune_cli.core.registry import parameters
from dprune_cli.io.arrow import dictionary, from_numpy, to_numpy
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.outputs import STDOUT, check_output, check_stdout_is_no_terminal
from dprune_cli.io.table import ScoreTable, check_keys
from dprune_cli.metrics.coverage import Coverage, correlate, cover
from dprune_cli.pickers.base import PICKERS, Picker

RANDOM = "random"
STATUS, NO_SCORE, RANK = "status", "no_score", "rank"

WantedEnd = Literal["high", "low", "middle", "hard", "easy"]


@dataclass(frozen=True, kw_only=True)
class SelectRequest:
    """What `dprune select` was asked for; see its options."""

    by: str
    keep: Budget | None = None
    pick: str | None = None
    end: WantedEnd | None = None
    everywhere: bool = False
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
    """Add the columns `keep` and `reason`.

    Within the quotas of the table if it has any, else `--keep` of all samples.

    Raises:
        UsageError: no budget, or a picker or end that does not exist.
        DataError: the column to rank by is missing or holds NaN, a key stands there twice.
        BudgetError: a quota, or the budget, is more than there is.
    """
    check_keys(table)
    ok = table.ok()
    picker = _picker(table, request)
    values = None
    if picker.needs_values:
        values = table.numbers(request.by)
        picker = picker.oriented(_end(table, request, progress))
    scored = ok if values is None else ok & ~np.isnan(values)
    stratum, quotas, names = _budgets(table, request, ok)
    keep = np.zeros(len(table), bool)
    keep[_pick(table, picker, values, np.flatnonzero(scored), stratum, quotas, names, request.seed)] = True
    reasons = np.where(~ok, 0, np.where(~scored, 1, 2)).astype(np.int32)
    reason = dictionary(reasons, [STATUS, NO_SCORE, RANK], keep)
    step = {
        "by": request.by,
        "pick": picker.info.name,
        "parameters": parameters(picker),
        "keep": request.keep.text if request.keep else None,
        "seed": request.seed,
        "global": request.everywhere or None,
    }
    if "keep" in table:
        progress.note(f"{table.source} holds a selection already; it is replaced")
    by_group = "quota" in table and not request.everywhere and _quota_by(table) == "group"
    return Selection(
        table.with_columns(keep=from_numpy(keep), reason=reason).with_meta(
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
    return PICKERS.make(request.pick or "top")


def _end(table: ScoreTable, request: SelectRequest, progress: Progress) -> End:
    """The end of the column that is kept."""
    if request.end is None:
        return table.keep_first(request.by, progress)
    if request.end in ("hard", "easy"):
        return _difficulty_end(table, request.by, request.end)
    return cast(End, request.end)


def _difficulty_end(table: ScoreTable, column: str, wanted: str) -> End:
    hard = table.meta.scores.get(column, {}).get("hard_end")
    if hard not in ("high", "low"):
        raise UsageError(
            f"{table.source} does not say which end of {column!r} is hard; give --end high or low"
        )
    return "high" if (hard == "high") == (wanted == "hard") else "low"


def _quota_by(table: ScoreTable) -> str:
    """What the quotas of a table are of: `class` or `group`."""
    return str(table.meta.last_step("quota").get("by", "class"))


def _budgets(
    table: ScoreTable, request: SelectRequest, ok: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """(N,) stratum of every row, (S,) samples to keep of each, and their names."""
    if "quota" not in table or request.everywhere:
        if request.keep is None:
            raise UsageError("give --keep, or a table with quotas from `dprune quota`")
        total = request.keep.count(int(ok.sum()))
        return np.zeros(len(table), np.int64), np.array([total]), ["the data set"]
    by = _quota_by(table)
    stratum, names = table.strata(by), table.stratum_names(by)
    quota = table.integers("quota")
    quotas = np.zeros(len(names), np.int64)
    quotas[stratum[ok]] = quota[ok]
    differing = ok & (quota != quotas[np.maximum(stratum, 0)])
    if differing.any() or (quota[ok] < 0).any():
        where = names[stratum[np.flatnonzero(differing if differing.any() else ok & (quota < 0))[0]]]
        raise DataError(
            f"{table.source}: column 'quota' must hold one number of at least 0 for all of {where!r}"
        )
    if request.keep is not None and request.keep.count(int(ok.sum())) != quotas.sum():
        raise BudgetError(
            f"--keep {request.keep.text} is not the {quotas.sum()} that the quotas keep; "
            "drop --keep, run quota again, or give --global to ignore them"
        )
    return stratum, quotas, names


def _pick(
    table: ScoreTable,
    picker: Picker,
    values: NDArray[np.float64] | None,
    candidates: NDArray[np.int64],
    stratum: NDArray[np.int64],
    quotas: NDArray[np.int64],
    names: list[str],
    seed: int,
) -> NDArray[np.int64]:
    """Rows that are kept: in every stratum as many candidates as its quota says."""
    # The narrowest type makes NumPy's stable sort a radix sort, which is what keeps ten million rows cheap.
    kind = np.min_scalar_type(len(quotas))
    order = candidates[np.argsort(stratum[candidates].astype(kind), kind="stable")]
    counts = np.bincount(stratum[candidates], minlength=len(quotas))
    kept = []
    for number, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if quotas[number] > len(rows):
            raise BudgetError(
                f"{table.source}: {quotas[number]} samples of {names[number]!r} are to be kept, but only "
                f"{len(rows)} can be picked"
            )
        if quotas[number] == 0:
            continue

        def tie(positions: NDArray[np.int64], rows: NDArray[np.int64] = rows) -> NDArray[np.uint64]:
            return hash_keys(table.data["key"].take(from_numpy(rows[positions])), seed)

        own = None if values is None else values[rows]
        kept.append(rows[picker.pick(own, int(quotas[number]), tie, len(rows))])
    return np.concatenate(kept) if kept else np.empty(0, np.int64)


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
