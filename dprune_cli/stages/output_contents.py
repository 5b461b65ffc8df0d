"""What a folder that `dprune select` wrote holds: read from its files, for those who describe it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.progress import BYTES, Progress
from dprune_cli.io.labels import Values, read_cls
from dprune_cli.io.tar_index import index_tar, map_file
from dprune_cli.io.tar_plan import Shard
from dprune_cli.io.tar_samples import TarSamples, group_members, image_rank

# Describes a folder before it takes its place: called with the folder, and its shards or None for images.
Describe = Callable[[Path, Sequence[Shard] | None], None]

# What `.cls` members hold: ids, names, nothing at all, or what the table does not call the labels.
LabelKind = Literal["ids", "names", "none", "other"]

_AT_ONCE = 1 << 20


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
    """

    shards: Sequence[Shard]
    digests: Sequence[str]
    images: Sequence[str]
    labels: Sequence[str]
    others: Sequence[str]
    label_kind: LabelKind

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
) -> ShardContents:
    """Read the headers and labels of all samples, and hash the shards.

    Args:
        folder: where the shards are.
        shards: what was written.
        classes: C class names by id.
        kept: (C,) samples of every class that were written.
        progress: hears of the bytes that are hashed.
    """
    images, labels, fields = set[str](), set[str](), set[str]()
    values, found = Values(), Counter[int]()
    digests = []
    track = progress.count("hash", BYTES)
    total, done = sum(shard.size for shard in shards), 0
    for shard in shards:
        digest = hashlib.sha256()
        buffer = map_file(folder / shard.name)
        for first in range(0, len(buffer), _AT_ONCE):
            digest.update(buffer[first : first + _AT_ONCE])
            done += min(_AT_ONCE, len(buffer) - first)
            track(done, total)
        digests.append(digest.hexdigest())
        samples = group_members(index_tar(folder / shard.name, buffer))
        images |= _fields_of(samples, samples.image)
        labels |= _fields_of(samples, samples.cls)
        fields |= set(_all_fields(samples))
        begin, size = samples.span(samples.cls)
        found.update(read_cls(buffer, begin, size, values).tolist())
    return ShardContents(
        shards,
        digests,
        sorted(images, key=lambda name: (image_rank(name.lower()), name)),
        sorted(labels),
        sorted(fields - images - labels),
        _label_kind(values.known(), found, classes, kept),
    )


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
    """Walk an image folder that was written."""
    samples, flat = 0, True
    suffixes: set[str] = set()
    folders: set[str] = set()
    for path in _files(folder):
        parts = path.relative_to(folder).parts
        samples += 1
        flat &= len(parts) == 2
        folders.add(parts[0])
        suffixes.add(path.name.rpartition(".")[2])
    return FolderContents(samples, sorted(suffixes), sorted(folders), flat)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())
