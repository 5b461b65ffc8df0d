"""The rows of a data set: what the index of DATA yields and every later step refers to by row number.

Rows are numbered once, in sorted (shard, offset) order; a batch carries its row numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.io.remote import Place
from dprune_cli.io.table import DICTIONARY, OK, ScoreTable, TableMeta, fingerprint

MISSING = -1


@dataclass(frozen=True)
class Samples:
    """N samples of one data set.

    Attributes:
        root: DATA exactly as typed, one entry an argument; empty where a recording stands in for DATA.
        base: folder that the shard names are relative to.
        shards: names of shards, or of image files, relative to `base`.
        keys: (N,) sample keys; unique among rows whose status is `ok`.
        label: (N,) class ids, -1 where unknown.
        group: (N,) group ids, -1 where unknown, or None if no group field was asked for.
        shard: (N,) index into `shards`, -1 without DATA.
        offset, size: (N,) byte span of all members of the sample in its shard; -1 for image files.
        image_offset, image_size: (N,) byte span of the encoded image alone; (0, file size) for image
            files; -1 where the sample has no image.
        status: (N,) `ok`, or why the sample cannot be used.
        classes, groups: names by id.
        reading: options that the index was made with (label field, group field), to make it again.
        damage: what is wrong with shards or labels, one line each; of a damaged shard the rows are what
            precedes the damage.
        lost: shards that end inside a sample, or whose rest cannot be read; each counts as a bad sample.
        hint: what the user may have meant, if the labels look wrong; else empty.
        recording: the file that they were read from, where there is no DATA; else empty.
    """

    root: list[str]
    base: Place
    shards: list[str]
    keys: list[str]
    label: NDArray[np.int32]
    group: NDArray[np.int32] | None
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    image_offset: NDArray[np.int64]
    image_size: NDArray[np.int64]
    status: NDArray[np.object_]
    classes: list[str]
    groups: list[str]
    reading: dict[str, str]
    damage: tuple[str, ...] = ()
    lost: int = 0
    hint: str = ""
    recording: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def source(self) -> str:
        """Where they come from, in words."""
        return " ".join(self.root) or self.recording

    def named_groups(self) -> list[str | None] | None:
        """(N,) names of groups, None where unknown; None if no group field was asked for."""
        if self.group is None:
            return None
        return [self.groups[number] if number != MISSING else None for number in self.group.tolist()]

    def ok(self) -> NDArray[np.bool_]:
        """(N,) rows that can be used."""
        return np.asarray(self.status == OK, bool)

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """Only these rows, in this order, with new row numbers."""
        return dataclasses.replace(
            self,
            keys=[self.keys[row] for row in rows],
            label=self.label[rows],
            group=None if self.group is None else self.group[rows],
            shard=self.shard[rows],
            offset=self.offset[rows],
            size=self.size[rows],
            image_offset=self.image_offset[rows],
            image_size=self.image_size[rows],
            status=self.status[rows],
        )

    def digest(self) -> str:
        """sha256 over what each row is, in order: what is known by row numbers holds for no other."""
        lines = zip(
            self.keys,
            self.label.tolist(),
            [""] * len(self) if self.group is None else self.group.tolist(),
            self.status.tolist(),
            strict=True,
        )
        return hashlib.sha256("\n".join("\t".join(map(str, line)) for line in lines).encode()).hexdigest()

    def path(self, row: int) -> Place:
        """The shard or image file that holds a row."""
        return self.base / self.shards[int(self.shard[row])]

    def table(self) -> ScoreTable:
        """The score table of these samples, without any score yet."""
        columns = {
            "key": pa.array(self.keys, pa.string()),
            "label": _nullable(self.label, pa.int32()),
            "shard": pa.DictionaryArray.from_arrays(
                _nullable(self.shard, pa.int32()), pa.array(self.shards, pa.string())
            ),
            "offset": _nullable(self.offset, pa.int64()),
            "size": _nullable(self.size, pa.int64()),
            "status": pa.array(self.status.tolist(), pa.string()).dictionary_encode().cast(DICTIONARY),
        }
        if self.group is not None:
            columns["group"] = _nullable(self.group, pa.int32())
        order = ["key", "label", "group", "shard", "offset", "size", "status"]
        data = pa.table({name: columns[name] for name in order if name in columns})
        meta = TableMeta(
            fingerprint=fingerprint(data),
            root=self.root[0] if len(self.root) == 1 else self.root or None,
            classes=self.classes,
            groups=self.groups,
            reading=self.reading,
        )
        return ScoreTable(data, meta, self.source)


def recorded_samples(
    recording: str,
    keys: list[str],
    label: NDArray[np.int32],
    classes: list[str],
    group: NDArray[np.int32] | None = None,
    groups: Sequence[str] = (),
) -> Samples:
    """The samples of a recording, without DATA: nothing is known of shards and offsets.

    Args:
        recording: the file.
        keys: (N,) unique keys.
        label: (N,) class ids.
        classes: names by id.
        group: (N,) group ids, -1 where unknown; None without groups.
        groups: names by id.
    """
    nowhere = np.full(len(keys), MISSING, np.int64)
    return Samples(
        root=[],
        base=Path(),
        shards=[],
        keys=keys,
        label=label,
        group=group,
        shard=nowhere.astype(np.int32),
        offset=nowhere,
        size=nowhere,
        image_offset=nowhere,
        image_size=nowhere,
        status=np.full(len(keys), OK, object),
        classes=classes,
        groups=list(groups),
        reading={},
        recording=recording,
    )


def _nullable(values: NDArray[np.integer], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, mask=values == MISSING)
