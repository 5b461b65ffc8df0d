"""`dprune quota`: how many samples of every class (or group) to keep."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core.budget import Budget
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.core.info import End
from dprune_cli.core.progress import Progress
from dprune_cli.core.registry import parameters
from dprune_cli.io.arrow import from_numpy
from dprune_cli.io.keys import draw_seed
from dprune_cli.io.outputs import whole_file
from dprune_cli.io.remote import Place
from dprune_cli.io.remote_cache import local_file
from dprune_cli.io.table import ScoreTable, read_table
from dprune_cli.io.table_columns import By, StratumColumn, read_numbers, read_ok, read_strata
from dprune_cli.io.table_keys import KeyHashes, check_keys
from dprune_cli.io.table_view import TableView
from dprune_cli.metrics.classification import error_counts
from dprune_cli.metrics.coverage import count_strata
from dprune_cli.metrics.ranking import positions
from dprune_cli.quotas.base import QUOTAS, QuotaInput, QuotaRule, Validation, quotas_for
from dprune_cli.stages.select_weights import without_old_weights

SUFFIXES = (".parquet", ".csv", ".json")


@dataclass(frozen=True, kw_only=True)
class QuotaRequest:
    """What `dprune quota` was asked for; see its options.

    `validation` holds tables of predictions, or where they are.
    """

    method: str | None = None
    keep: Budget | None = None
    by: By = "class"
    validation: Sequence[str | ScoreTable] = ()
    minimum: int = 0
    edited: Place | None = None
    seed: int = 0


@dataclass(frozen=True)
class QuotaTable:
    """The small table that a person reviews: one row a stratum.

    Attributes:
        by: `class` or `group`.
        names: S names by id.
        available: (S,) samples that may be kept.
        recall: (S,) on validation, NaN where it is not known.
        quota: (S,) samples to keep.
    """

    by: By
    names: list[str]
    available: NDArray[np.int64]
    recall: NDArray[np.float64]
    quota: NDArray[np.int64]

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a stratum; unknown numbers are None."""
        found = zip(
            self.names, self.available.tolist(), self.recall.tolist(), self.quota.tolist(), strict=True
        )
        return [
            {
                "stratum": number,
                "name": name,
                "available": available,
                "recall": None if np.isnan(recall) else recall,
                "density": quota / available if available else None,
                "quota": quota,
            }
            for number, (name, available, recall, quota) in enumerate(found)
        ]


def quota(table: TableView, request: QuotaRequest, progress: Progress) -> tuple[TableView, QuotaTable]:
    """Add the column `quota`.

    Raises:
        BudgetError: the budget or an edited quota is more than there is.
        DataError: a column is missing, or validation lacks a class.
        UsageError: options that contradict one another.
    """
    ok = read_ok(table)
    strata = read_strata(table, request.by, ok)
    names = strata.names
    available = count_strata(strata.ids, len(names), ok)
    step: dict[str, Any] = {"by": request.by}
    if request.edited is not None:
        quotas, recall = _read_edited(request.edited, names, available)
        step["quotas"] = str(request.edited.name)
    else:
        if request.method is None or request.keep is None:
            raise UsageError("give --keep and --method, or --from with an edited quotas file")
        rule = QUOTAS.make(request.method)
        total = request.keep.count(int(np.count_nonzero(ok)))
        given = _rule_input(table, request, total, strata, ok, available, progress)
        result = quotas_for(rule, given, request.minimum)
        for line in result.warnings:
            progress.warn(line)
        quotas = result.quotas
        recall = result.recall if result.recall is not None else np.full(len(names), np.nan)
        step |= _step(rule, request)
    review = QuotaTable(request.by, names, available, recall, quotas)
    if not np.isnan(recall).all():
        step["recall"] = [None if np.isnan(value) else round(value, 6) for value in recall.tolist()]

    def column(rows: slice) -> pa.Array:
        return from_numpy(quotas[np.maximum(strata.ids[rows], 0)], ~ok[rows])

    # A selection made before would outlive the quotas that it does not meet.
    table = without_old_weights(table, progress).without("keep", "reason").with_computed(quota=column)
    return table.with_meta(table.meta.with_step("quota", **step)), review


def _step(rule: QuotaRule, request: QuotaRequest) -> dict[str, Any]:
    return {
        "method": rule.info.name,
        "parameters": parameters(rule),
        "paper": rule.info.paper,
        "keep": request.keep.text if request.keep else None,
        "min_per_class": request.minimum or None,
        "val": [one if isinstance(one, str) else one.source for one in request.validation] or None,
        "seed": request.seed,
    }


def _rule_input(
    table: TableView,
    request: QuotaRequest,
    total: int,
    strata: StratumColumn,
    ok: NDArray[np.bool_],
    available: NDArray[np.int64],
    progress: Progress,
) -> QuotaInput:
    def of_candidates(values: NDArray[Any]) -> NDArray[Any]:
        return values if ok.all() else values[ok]

    @functools.cache
    def hashes() -> KeyHashes:
        # Like `select`, whose choice this foretells; asked only where values tie at a cut.
        return KeyHashes(table, draw_seed(request.seed, check_keys(table)))

    @functools.cache
    def candidates() -> NDArray[Any]:
        return positions(ok)

    def keep_first(name: str) -> End:
        return table.keep_first(name, progress)

    names = strata.names
    nobody = np.zeros(len(table), bool)
    return QuotaInput(
        total=total,
        names=names,
        available=available,
        stratum=of_candidates(strata.ids),
        validation=tuple(_validation(source, table, request.by, len(names)) for source in request.validation),
        column=lambda name: of_candidates(read_numbers(table, name)),
        tie=lambda rows: hashes()(candidates()[rows]),
        keep_first=keep_first,
        classes=len(read_strata(table, "class", nobody).names) if request.by == "group" else None,
    )


def _validation(source: str | ScoreTable, table: TableView, by: By, strata: int) -> Validation:
    """Count a validation table's errors by stratum; names, where both tables have them, decide over ids."""
    columns = ["key", "label", "group", "status", "pred"]
    val = read_table(source, columns) if isinstance(source, str) else source
    if "pred" not in val:
        raise DataError(
            f"{val.source}: there is no column 'pred'; make it with `dprune evaluate RUN VAL -o FILE`"
        )
    ok = val.ok() & (val.integers("pred") >= 0)
    label, pred, stratum = val.integers("label")[ok], val.integers("pred")[ok], val.strata(by)[ok]
    here = table.meta.classes if by == "class" else table.meta.groups
    there = val.meta.classes if by == "class" else val.meta.groups
    if here and there and here != there:
        unknown = [name for name in there if name not in here]
        if unknown:
            raise DataError(f"{val.source}: {by} {unknown[0]!r} is not in {table.source}")
        stratum = np.array([here.index(name) for name in there], np.int64)[stratum]
    if len(stratum) and stratum.max() >= strata:
        raise DataError(f"{val.source}: {by} {stratum.max()} is not in {table.source}, which has {strata}")
    return Validation(*error_counts(stratum, label != pred, strata))


def write_quotas(review: QuotaTable, path: Place, *, force: bool) -> None:
    """Write the table a person reviews, as `.parquet`, `.csv` or `.json`."""
    rows = review.rows()
    with whole_file(path, force=force) as part:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), part)
        elif path.suffix == ".json":
            part.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
        else:
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def check_suffix(path: Place) -> None:
    """`UsageError` unless a quotas file says by its suffix what it is."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a quotas file ends in {', '.join(SUFFIXES)}")


def _read_edited(
    path: Place, names: list[str], available: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rows = _read_rows(path)
    quotas = np.full(len(names), -1, np.int64)
    recall = np.full(len(names), np.nan)
    for number, row in enumerate(rows, 1):
        try:
            stratum, wanted = _whole(row["stratum"]), _whole(row["quota"])
            known = row.get("recall")
            recall_here = float(known) if known not in (None, "") else np.nan
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(f"{path}: row {number} needs whole numbers in 'stratum' and 'quota'") from None
        if not 0 <= stratum < len(names):
            raise DataError(f"{path}: row {number}: there is no stratum {stratum}")
        if quotas[stratum] >= 0:
            raise DataError(f"{path}: stratum {stratum} stands there twice")
        if row.get("name") not in (None, "", names[stratum]):
            raise DataError(
                f"{path}: stratum {stratum} is {names[stratum]!r} in the table, not {row['name']!r}"
            )
        if not 0 <= wanted <= available[stratum]:
            raise BudgetError(
                f"{path}: quota {wanted} of {names[stratum]!r} is not between 0 and the "
                f"{available[stratum]} samples it has"
            )
        quotas[stratum], recall[stratum] = wanted, recall_here
    missing = np.flatnonzero((quotas < 0) & (available > 0))
    if len(missing):
        raise DataError(f"{path}: there is no quota for {names[missing[0]]!r}")
    quotas = np.maximum(quotas, 0)
    if quotas.sum() == 0:
        raise BudgetError(f"{path}: the quotas keep no sample at all")
    return quotas, recall


def _whole(value: Any) -> int:
    """A whole number, also one that a spreadsheet wrote as 12.0."""
    if float(value) != int(float(value)):
        raise ValueError(value)
    return int(float(value))


def _read_rows(path: Place) -> list[dict[str, Any]]:
    try:
        local = local_file(path)
        if path.suffix == ".parquet":
            rows = pq.read_table(local).to_pylist()
        elif path.suffix == ".json":
            rows = json.loads(local.read_text("utf-8"))
        else:
            with open(local, newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path}: this is no quotas file ({str(error).splitlines()[0]})") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: this is no quotas file (a list of rows is expected)")
    return rows
