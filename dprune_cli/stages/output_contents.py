"""What a folder that `dprune select` wrote holds: read from its files, for those who describe it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.progress import BYTES, Advance, Progress
from dprune_cli.io.folders import scan_folder
from dprune_cli.io.labels import Values, read_cls
from dprune_cli.io.tar_index import index_tar, map_file
from dprune_cli.io.tar_plan import Shard
from dprune_cli.io.tar_samples import TarSamples, group_members, image_rank
from dprune_cli.io.tar_walk import Buffer

# Describes a folder before it takes its place: called with the folder, and its shards or None for images.
Describe = Callable[[Path, Sequence[Shard] | None], None]

# What `.cls` members hold: ids, names, nothing at all, or what the table does not call the labels.
LabelKind = Literal["ids", "names", "none", "other"]

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class JsonLabels:
    """Where labels are in `.json` members.

    Attributes:
        members: fields of the members, as they are spelled, the plain `json` first.
        path: names that lead to the label, from the outermost object to the innermost.
    """

    members: Sequence[str]
    path: Sequence[str]


@dataclass(frozen=True)
class ShardContents:
    """What shards hold.

    Attributes:
        shards: the shards.
        digests: their sha256, as hexadecimal digits.
        images: fields of the images, as they are spelled, the most usual kind first.
        labels: fields of the `.cls` members, as they are spelled.
        others: all other fields of samples.
        label_kind: what the `.cls` members hold.
        json_labels: where the labels are, if they are those of a field of the `.json` members.
    """

    shards: Sequence[Shard]
    digests: Sequence[str]
    images: Sequence[str]
    labels: Sequence[str]
    others: Sequence[str]
    label_kind: LabelKind
    json_labels: JsonLabels | None = None

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.samples for shard in self.shards)


@dataclass(frozen=True)
class FolderContents:
    """What an image folder holds.

    Attributes:
        samples: images.
        suffixes: what image files end with, as it is spelled, without the dot.
        folders: names of the class folders, sorted.
        flat: whether every image stands in its class folder itself, not in a folder of that.
    """

    samples: int
    suffixes: Sequence[str]
    folders: Sequence[str]
    flat: bool


def look_into_shards(
    folder: Path,
    shards: Sequence[Shard],
    classes: Sequence[str],
    kept: NDArray[np.int64],
    progress: Progress,
    *,
    label_field: str | None = None,
) -> ShardContents:
    """Read the headers and labels of all samples, and hash the shards.

    Args:
        folder: where the shards are.
        shards: what was written.
        classes: C class names by id.
        kept: (C,) samples of every class that were written.
        progress: hears of the bytes that are hashed.
        label_field: where in the `.json` members the table has its labels from; None if from elsewhere.
    """
    images, labels, members, fields = set[str](), set[str](), set[str](), set[str]()
    values, found = Values(), Counter[int]()
    digests, path = [], list[str]()
    track = progress.count("hash", BYTES)
    total, done = sum(shard.size for shard in shards), 0
    for shard in shards:
        buffer = map_file(folder / shard.name)
        digests.append(_digest(buffer, done, total, track))
        done += len(buffer)
        samples = group_members(index_tar(folder / shard.name, buffer))
        images |= _fields_of(samples, samples.image)
        labels |= _fields_of(samples, samples.cls)
        fields |= set(_all_fields(samples))
        begin, size = samples.span(samples.cls)
        found.update(read_cls(buffer, begin, size, values).tolist())
        if label_field is not None:
            members |= _fields_of(samples, samples.json)
            path = path or _path_to(label_field, samples, buffer)
    kind = _label_kind(values.known(), found, classes, kept)
    return ShardContents(
        shards,
        digests,
        sorted(images, key=lambda name: (image_rank(name.lower()), name)),
        sorted(labels),
        sorted(fields - images - labels),
        # As many of every class as the table has may be others all the same.
        kind if kind == "none" or not path else "other",
        JsonLabels(sorted(members, key=lambda name: (name.lower() != "json", name)), path) if path else None,
    )


def _digest(buffer: Buffer, done: int, total: int, track: Advance) -> str:
    """The sha256 of a shard; `track` is told how many bytes of all are hashed, `done` of them before it."""
    digest = hashlib.sha256()
    for first in range(0, len(buffer), _AT_ONCE):
        piece = buffer[first : first + _AT_ONCE]
        digest.update(piece)
        track(done + first + len(piece), total)
    return digest.hexdigest()


def _path_to(field: str, samples: TarSamples, buffer: Buffer) -> list[str]:
    """Names that lead to a field of the first `.json` member; none without such members.

    A name with dots in it is that of a field, if there is one, else it is a path.
    """
    for first, size in zip(*(span.tolist() for span in samples.span(samples.json)), strict=True):
        if first >= 0:
            return [field] if field in json.loads(buffer[first : first + size]) else field.split(".")
    return []


def _fields_of(samples: TarSamples, chosen: NDArray[np.int64]) -> set[str]:
    """The fields, as they are spelled, of chosen members, one a sample; -1 for none."""
    names = samples.members.names
    pairs = zip(samples.keys, chosen.tolist(), strict=True)
    return {names[place][len(key) + 1 :] for key, place in pairs if place >= 0}


def _all_fields(samples: TarSamples) -> Iterator[str]:
    known = set(samples.fields)
    for name in samples.members.names:
        stem, _, field = name.rpartition("/")[2].partition(".")
        if stem and field.lower() in known:
            yield field


def _label_kind(
    values: Sequence[int | str], found: Counter[int], classes: Sequence[str], kept: NDArray[np.int64]
) -> LabelKind:
    """What labels are, if they give every class as many samples as the table does.

    Args:
        values: distinct labels by code.
        found: samples by code; negative codes are no label.
        classes: C class names by id.
        kept: (C,) samples of every class.
    """
    if not any(code >= 0 for code in found):
        return "none"
    ids = {name: number for number, name in enumerate(classes)}
    counts = np.zeros(len(classes), np.int64)
    for code, count in found.items():
        value = values[code] if code >= 0 else -1
        number = ids.get(value, -1) if isinstance(value, str) else value
        if not 0 <= number < len(counts):
            return "other"
        counts[number] += count
    if not np.array_equal(counts, kept):
        return "other"
    kinds = {type(value) for value in values}
    return "ids" if kinds == {int} else "names" if kinds == {str} else "other"


def look_into_folder(folder: Path) -> FolderContents:
    """Find the images in class folders of a folder that was written; other files may stand beside them."""
    names = [image.name for image in scan_folder(folder).images if image.label is not None]
    return FolderContents(
        samples=len(names),
        suffixes=sorted({name.rpartition(".")[2] for name in names}),
        folders=sorted({name.partition("/")[0] for name in names}),
        flat=all(name.count("/") == 1 for name in names),
    )
