"""What a score table is made of: the types of its columns, and what it knows about itself."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dprune_cli.core.errors import DataError

METADATA_KEY = b"dprune"
FORMAT_VERSION = 1
ROW_GROUP = 131_072
OK = "ok"
# So that one damaged id does not make two billion classes; more of them need as many rows or names.
MOST_CLASSES = 100_000

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
            meta.dump()  # a lone surrogate can be read, but not written
        except (ValueError, TypeError, AttributeError, RecursionError):
            meta = None
        if meta is None or not _is_ours(meta):
            raise DataError(f"{source}: the metadata under the key 'dprune' are not ours")
        if meta.version > FORMAT_VERSION:
            raise DataError(f"{source}: table format {meta.version} is newer than this dprune")
        return meta


def _is_ours(meta: TableMeta) -> bool:
    """Whether every field is of its type, down to what stages look at."""
    return (
        type(meta.version) is int
        and (meta.fingerprint is None or isinstance(meta.fingerprint, str))
        and (meta.root is None or isinstance(meta.root, str) or _are(meta.root, str))
        and _are(meta.classes, str)
        and _are(meta.groups, str)
        and isinstance(meta.reading, dict)
        and _are([*meta.reading.values()], str)
        and isinstance(meta.scores, dict)
        and _are([*meta.scores.values()], dict)
        and _are(meta.steps, dict)
        and _are([step.get("options", {}) for step in meta.steps], dict)
    )


def _are(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
