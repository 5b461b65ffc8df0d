"""The score table: one row a sample, one Parquet file, the only thing stages hand to each other.

`ScoreTable` is an Arrow table plus what its schema metadata say under the key `dprune`. Stages add
columns and a step to the metadata and pass everything else through. Tables of other tools work too, as
long as they have the columns that a stage needs.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.core.info import End
from dprune_cli.core.progress import Progress
from dprune_cli.io.arrow import equals, from_numpy, to_numpy
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.outputs import (
    STDOUT,
    check_output,
    check_stdout_is_no_terminal,
    standard_output,
    whole_file,
)

METADATA_KEY = b"dprune"
FORMAT_VERSION = 1
ROW_GROUP = 131_072
OK = "ok"

DICTIONARY = pa.dictionary(pa.int32(), pa.string())
COLUMN_TYPES = {
    "key": pa.string(),
    "label": pa.int32(),
    "group": pa.int32(),
    "shard": DICTIONARY,
    "offset": pa.int64(),
    "size": pa.int64(),
    "status": DICTIONARY,
    "pred": pa.int32(),
    "loss": pa.float32(),
    "quota": pa.int64(),
    "keep": pa.bool_(),
    "reason": DICTIONARY,
    "weight": pa.float32(),
}


@dataclass(frozen=True)
class TableMeta:
    """What a table knows about itself. No time stamps, host names or absolute paths of ours."""

    version: int = FORMAT_VERSION
    fingerprint: str | None = None
    root: str | list[str] | None = None
    classes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    reading: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def with_step(self, command: str, **options: Any) -> TableMeta:
        """The metadata with one more step; options that were not given are left out."""
        given = {name: value for name, value in options.items() if value is not None}
        return dataclasses.replace(self, steps=[*self.steps, {"command": command, "options": given}])

    def last_step(self, command: str) -> dict[str, Any]:
        """The options of the last step of `command`; empty if there is none."""
        found = [step.get("options", {}) for step in self.steps if step.get("command") == command]
        return found[-1] if found else {}

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def load(cls, raw: bytes | None, source: str) -> TableMeta:
        """From JSON; the defaults if a table has none of ours."""
        if raw is None:
            return cls()
        try:
            values = json.loads(raw)
            known = {item.name for item in dataclasses.fields(cls)}
            meta = cls(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, AttributeError):
            raise DataError(f"{source}: the metadata under the key 'dprune' are not ours") from None
        if meta.version > FORMAT_VERSION:
            raise DataError(f"{source}: table format {meta.version} is newer than this dprune")
        return meta


@dataclass(frozen=True)
class ScoreTable:
    """N rows and their metadata; immutable, every change is a new table over the same buffers."""

    data: pa.Table
    meta: TableMeta
    source: str = "table"

    def __len__(self) -> int:
        return self.data.num_rows

    def __contains__(self, column: str) -> bool:
        return column in self.data.column_names

    def need(self, *columns: str) -> None:
        """`DataError` naming the first of `columns` that is missing."""
        for column in columns:
            if column not in self:
                have = ", ".join(self.data.column_names)
                raise DataError(f"{self.source}: there is no column {column!r}; it has {have}")

    def with_columns(self, **columns: pa.Array | NDArray[Any]) -> ScoreTable:
        """The table with columns added, or replaced where they stand."""
        data = self.data
        for name, values in columns.items():
            array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else from_numpy(values)
            kind = COLUMN_TYPES.get(name)
            if kind is not None and array.type != kind:
                array = array.cast(kind)
            place = data.schema.get_field_index(name)
            data = data.append_column(name, array) if place < 0 else data.set_column(place, name, array)
        return dataclasses.replace(self, data=data)

    def without(self, *columns: str) -> ScoreTable:
        """The table without these columns, as far as it has them."""
        return dataclasses.replace(
            self, data=self.data.drop_columns([name for name in columns if name in self])
        )

    def with_meta(self, meta: TableMeta) -> ScoreTable:
        """The same rows with other metadata."""
        return dataclasses.replace(self, meta=meta)

    def ok(self) -> NDArray[np.bool_]:
        """(N,) rows that may be kept: status `ok`, or every row of a table without a status."""
        if "status" not in self:
            return np.ones(len(self), bool)
        return equals(self.data["status"], OK)

    def integers(self, column: str) -> NDArray[np.int64]:
        """(N,) an integer column, -1 where it is null."""
        self.need(column)
        values = self.data[column]
        if not pa.types.is_integer(values.type):
            raise DataError(f"{self.source}: column {column!r} holds {values.type}, not integers")
        found, null = to_numpy(values)
        return np.where(null, -1, found).astype(np.int64) if null.any() else found.astype(np.int64)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """(N,) a number column, NaN where it is null; `DataError` if it holds a NaN of its own."""
        self.need(column)
        values = self.data[column]
        if pa.types.is_boolean(values.type) or not (
            pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
        ):
            raise DataError(f"{self.source}: column {column!r} holds {values.type}, not numbers")
        found, null = to_numpy(values)
        found = found.astype(np.float64)
        bad = np.flatnonzero(np.isnan(found) & ~null)
        if len(bad):
            where = f" (first at key {self.data['key'][int(bad[0])].as_py()!r})" if "key" in self else ""
            raise DataError(f"{self.source}: column {column!r} holds {len(bad)} NaN{where}")
        found[null] = np.nan
        return found

    def keep_first(self, column: str, progress: Progress) -> End:
        """The end of a column that is kept first: what its metadata say, else the high one, with a note."""
        known = self.meta.scores.get(column, {}).get("keep_first")
        if known in get_args(End):
            return cast(End, known)
        progress.note(
            f"{self.source} does not say which end of {column!r} to keep: the high one is kept first"
        )
        return "high"

    def stratum_names(self, by: str) -> list[str]:
        """Names of classes or groups, one an id; ids themselves where no names are known."""
        names = self.meta.classes if by == "class" else self.meta.groups
        ids = self.integers("label" if by == "class" else "group")
        return [*names, *map(str, range(len(names), int(ids.max(initial=-1)) + 1))]

    def strata(self, by: str) -> NDArray[np.int64]:
        """(N,) class or group id of every row; `DataError` where a row that may be kept has none."""
        column = "label" if by == "class" else "group"
        ids = self.integers(column)
        lost = self.ok() & (ids < 0)
        if lost.any():
            raise DataError(f"{self.source}: {int(lost.sum())} samples with status ok have no {column}")
        return ids


def check_keys(table: ScoreTable) -> NDArray[np.uint64]:
    """Hashes of the keys of rows that may be kept, sorted; `DataError` if two have the same key."""
    table.need("key")
    ok = table.ok()
    keys = table.data["key"] if ok.all() else table.data["key"].filter(from_numpy(ok))
    hashes = np.sort(hash_keys(keys))
    if not (hashes[1:] == hashes[:-1]).any():
        return hashes
    # Counted only now, because counting strings takes four times as long as hashing them.
    counts = Counter(keys.to_pylist())
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"{table.source}: {len(twice)} keys stand in it more than once (first {twice[0]!r})")
    return hashes


def fingerprint(table: pa.Table) -> str:
    """sha256 over the sorted (key, label, size) of a table, so that any change of the data shows."""
    columns = [table[name].cast(pa.string()).to_pylist() for name in ("key", "label", "size")]
    lines = sorted("\t".join(value or "" for value in row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_table(source: str, columns: Sequence[str] | None = None) -> ScoreTable:
    """Read a table from a file, a folder of part files, a quoted glob, or `-`.

    Args:
        source: where; standard input is buffered, because Parquet is read from its end.
        columns: only these, where they exist; None reads all.

    Raises:
        DataError: there is no such file, or it is no Parquet file.
    """
    if source == STDOUT:
        raw = sys.stdin.buffer.read()
        if not raw:
            raise DataError("standard input is empty; did the command before the pipe fail?")
        return _read_one(pa.BufferReader(raw), "standard input", columns)
    parts = _part_files(source)
    tables = [_read_one(str(part), str(part), columns) for part in parts]
    if len(tables) == 1:
        return dataclasses.replace(tables[0], source=source)
    for table in tables[1:]:
        if (table.meta.root, table.meta.classes) != (tables[0].meta.root, tables[0].meta.classes):
            raise DataError(f"{source}: {table.source} and {tables[0].source} are of different data sets")
    try:
        data = pa.concat_tables([table.data for table in tables], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{source}: its part files do not fit together: {_line(error)}") from None
    return ScoreTable(data.unify_dictionaries(), tables[0].meta, source)


def _part_files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        parts = sorted(path.glob("*.parquet"))
        if not parts:
            raise DataError(f"{source}: there is no such table; the folder holds no .parquet file")
    elif path.exists():
        parts = [path]
    else:
        parts = [Path(name) for name in sorted(glob.glob(source))]
    if not parts:
        raise DataError(f"{source}: there is no such table")
    return parts


def _read_one(where: Any, source: str, columns: Sequence[str] | None) -> ScoreTable:
    try:
        with pq.ParquetFile(where) as file:
            schema = file.schema_arrow
            wanted = None if columns is None else [name for name in columns if name in schema.names]
            data = file.read(columns=wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{source}: this is no Parquet file ({_line(error)})") from None
    meta = TableMeta.load((schema.metadata or {}).get(METADATA_KEY), source)
    return ScoreTable(_with_our_types(data, source), meta, source)


def _with_our_types(data: pa.Table, source: str) -> pa.Table:
    """Cast known columns of other tools' tables, so that `label` may come as int64 or int8."""
    for place, name in enumerate(data.column_names):
        kind = COLUMN_TYPES.get(name)
        if kind is None or data.schema.field(place).type == kind:
            continue
        try:
            data = data.set_column(place, name, data.column(place).cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{source}: column {name!r} is no {kind}: {_line(error)}") from None
    return data


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".")


def write_table(table: ScoreTable, target: str, *, force: bool = False) -> None:
    """Write a table to a file, or to standard output for `-`."""
    if target == STDOUT:
        sink = pa.BufferOutputStream()
        _write(table, sink)
        with standard_output() as stream:
            stream.write(sink.getvalue())
        return
    with whole_file(target, force=force) as part:
        _write(table, str(part))


def check_table_output(target: str | None, *, force: bool) -> None:
    """Refuse a table output that `write_table` would refuse, before any work is done."""
    if target == STDOUT:
        check_stdout_is_no_terminal("a Parquet table", "-o")
    elif target is not None:
        check_output(target, force=force)


def _write(table: ScoreTable, sink: Any) -> None:
    metadata = dict(table.data.schema.metadata or {})
    data = table.data.replace_schema_metadata({**metadata, METADATA_KEY: table.meta.dump()})
    dictionaries = [item.name for item in data.schema if pa.types.is_dictionary(item.type)]
    pq.write_table(data, sink, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=dictionaries)
