"""From DATA to rows: the index of shards and image folders that every later step refers to by row number.

Nothing is decoded here. A sample that cannot be used keeps its row and gets a status that says why; the
order of rows depends on names and offsets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.progress import Advance, ignore
from dprune_cli.io.class_names import agreed, names_beside, names_in_stream
from dprune_cli.io.folders import ImageFile, image_keys, inner_folder_hint, left_out
from dprune_cli.io.labels import (
    ABSENT,
    CLASS_WORD,
    MISSING_GROUP,
    Values,
    code_names,
    read_cls,
    read_json,
    resolve_classes,
    resolve_groups,
    stray_id,
)
from dprune_cli.io.remote import Place
from dprune_cli.io.remote_cache import CACHE_BYTES
from dprune_cli.io.remote_url import check_url
from dprune_cli.io.samples import MISSING, Samples
from dprune_cli.io.sources import STDIN, Located, locate, relative_name, spool_stdin
from dprune_cli.io.table import OK
from dprune_cli.io.tar_index import index_tar, map_file
from dprune_cli.io.tar_samples import TarSamples, group_members
from dprune_cli.io.tar_walk import NO_END_MARK

__all__ = ["locate", "open_samples"]


@dataclass
class _Reading:
    """How labels and groups are read, and the values and names of classes (by shard) met so far."""

    label_field: str | None
    group_fields: list[str]
    labels: Values
    groups: list[Values]
    streams: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Part:
    """Rows of one shard, or of neighbouring image files."""

    keys: list[str]
    label: NDArray[np.int32]
    group: NDArray[np.int32]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    image_offset: NDArray[np.int64]
    image_size: NDArray[np.int64]
    status: NDArray[np.object_]


def open_samples(
    data: Sequence[str],
    *,
    label_field: str | None = None,
    group_field: str | None = None,
    classes: Sequence[str] | None = None,
    spool: str | None = None,
    force: bool = False,
    cache_bytes: int = CACHE_BYTES,
    indexed: Advance = ignore,
) -> Samples:
    """Index DATA.

    The key of an image of a folder is its path below that folder, or below the common folder if several
    were named, up to a dot of its name (`image_keys` says which).

    Args:
        data: image folders, shards, folders of shards, brace patterns, or `-`, as typed.
        label_field: dotted path of the label in `.json` members; None reads `.cls` members.
        group_field: dotted path of the group, or several with commas to cross them; the word `label` is
            the class.
        classes: class names by id; None takes them from the head of a tar stream, else from `classes.txt`
            beside the shards or in their common folder, else from the labels.
        spool: folder that keeps standard input.
        force: replace what `spool` holds.
        cache_bytes: what local copies of remote shards may take.
        indexed: told how many shards and image files were looked at.

    Raises:
        UsageError: DATA or an option makes no sense.
        DataError: DATA is missing, unreadable, ambiguous, or holds no images.
    """
    for word in data:
        check_url(word)
    if not data or list(data).count(STDIN) > 1:
        raise UsageError("name the data once: an image folder, shards, or - for a tar stream")
    words, root = list(data), list(data)
    if STDIN in words:
        place = words.index(STDIN)
        words[place] = spool_stdin(spool, force=force)
        root[place] = STDIN if spool is None else spool
    elif spool is not None:
        raise UsageError("--spool keeps standard input; give - as DATA, or drop it")
    located = locate(words, cache_bytes)
    fields = [name.strip() for name in group_field.split(",")] if group_field is not None else []
    _check_fields(located, label_field, fields)
    reading = _Reading(
        label_field, [name for name in fields if name != CLASS_WORD], Values(), [Values() for _ in fields]
    )
    shards, parts, damage, hints = _read_parts(located, reading, indexed)
    lost = sum(NO_END_MARK not in line for line in damage)
    damage += filter(None, (left_out(folder, content) for folder, content in located.folders))
    part = _join(parts, len(reading.group_fields))
    shown = " ".join(data)
    if not (part.image_size != MISSING).any():
        reason = f" ({damage[0]})" if damage else ""
        raise DataError(f"{shown}: holds no images{reason}")
    if classes is None:
        common = [located.base] if located.tars else []
        classes = agreed(reading.streams) or names_beside(located.beside) or names_beside(common)
    label, status, names = resolve_classes(part.label, reading.labels, classes)
    if classes is None and (stray := stray_id(label, part.keys)):
        damage.insert(0, stray)
    group, group_names = None, list[str]()
    if fields:
        group, group_names = _resolve_groups(fields, part, reading, label, names)
        status[(status == OK) & (group < 0)] = MISSING_GROUP
    broken = part.status != OK
    status[broken] = part.status[broken]
    _mark_duplicates(part.keys, status)
    return Samples(
        root=root,
        base=located.base,
        shards=shards,
        keys=part.keys,
        label=label,
        group=group,
        shard=part.shard,
        offset=part.offset,
        size=part.size,
        image_offset=part.image_offset,
        image_size=part.image_size,
        status=status,
        classes=names,
        groups=group_names,
        reading={
            name: value
            for name, value in (("label_field", label_field), ("group_field", group_field))
            if value is not None
        },
        damage=tuple(damage),
        lost=lost,
        hint=_hint(located, label, hints, label_field),
    )


def _check_fields(located: Located, label_field: str | None, group_fields: Sequence[str]) -> None:
    if not all(group_fields) or label_field == "":
        raise UsageError("a field name is empty; write for example --group-field label,place")
    if len(set(group_fields)) < len(group_fields):
        raise UsageError("--group-field names a field twice")
    if located.tars:
        return
    if label_field is not None:
        raise UsageError("--label-field is for shards; an image folder has its labels in its folder names")
    if any(name != CLASS_WORD for name in group_fields):
        raise UsageError("--group-field is for shards with .json members; an image folder has no fields")


def _read_parts(
    located: Located, reading: _Reading, indexed: Advance
) -> tuple[list[str], list[_Part], list[str], list[str]]:
    """Names of shards and image files in order, their rows, damage of shards, and fields that were seen."""
    base = located.base
    entries: list[tuple[str, Place | ImageFile]]
    entries = [(relative_name(path, base), path) for path in located.tars]
    for root, content in located.folders:
        prefix = relative_name(root, base)
        below = "" if prefix == "." else prefix + "/"
        entries += [(below + image.name, image) for image in content.images]
    entries.sort(key=lambda entry: entry[0])
    parts: list[_Part] = []
    damage: list[str] = []
    seen: dict[str, None] = {}
    shards = [_repair(name) for name, _ in entries]
    keys = _image_keys(entries, whole_names=len(located.folders) > 1)
    waiting: list[tuple[int, ImageFile, str]] = []
    for number, (name, entry) in enumerate(entries):
        indexed(number, len(entries))
        if isinstance(entry, ImageFile):
            if (key := keys[number]) is not None:
                waiting.append((number, entry, key))
            continue
        if waiting:
            parts.append(_image_rows(waiting, reading))
            waiting = []
        if shards[number] != name:
            raise DataError(f"{shards[number]}: the name of a shard must be UTF-8; rename it")
        part, problem, fields = _tar_rows(entry, number, reading)
        parts.append(part)
        seen.update(dict.fromkeys(fields))
        if problem is not None:
            damage.append(f"shard {name}: {problem} ({len(part.keys)} samples before that)")
    if waiting:
        parts.append(_image_rows(waiting, reading))
    indexed(len(entries), len(entries))
    return shards, parts, damage, list(seen)


def _image_keys(
    entries: Sequence[tuple[str, Place | ImageFile]], *, whole_names: bool
) -> dict[int, str | None]:
    """Keys of image files by their place; `whole_names` keys them by their path below the base."""
    names = {
        number: name if whole_names else entry.name
        for number, (name, entry) in enumerate(entries)
        if isinstance(entry, ImageFile)
    }
    return dict(zip(names, image_keys(list(names.values())), strict=True))


def _tar_rows(path: Place, number: int, reading: _Reading) -> tuple[_Part, str | None, list[str]]:
    buffer = map_file(path)
    samples = group_members(index_tar(path, buffer))
    if (names := names_in_stream(buffer)) is not None:
        reading.streams[str(path)] = names
    image_offset, image_size = samples.span(samples.image)
    count = len(samples)
    if reading.label_field is None:
        label = read_cls(buffer, *samples.span(samples.cls), reading.labels)
        wanted, values = reading.group_fields, reading.groups
    else:
        label = np.full(count, ABSENT, np.int32)
        wanted = [reading.label_field, *reading.group_fields]
        values = [reading.labels, *reading.groups]
    group = np.empty((0, count), np.int32)
    if wanted:
        group = read_json(buffer, *samples.span(samples.json), wanted, values)
        if reading.label_field is not None:
            label, group = group[0], group[1:]
    keys = [_repair(key) for key in samples.keys]
    part = _Part(
        keys=keys,
        label=label,
        group=group,
        shard=np.full(count, number, np.int32),
        offset=samples.offset,
        size=samples.size,
        image_offset=image_offset,
        image_size=image_size,
        status=_tar_status(samples, keys, image_size),
    )
    return part, samples.members.damage, samples.fields


def _tar_status(samples: TarSamples, keys: list[str], image_size: NDArray[np.int64]) -> NDArray[np.object_]:
    status = np.full(len(keys), OK, object)
    status[image_size == 0] = "empty_image"
    status[image_size == MISSING] = "missing_image"
    status[samples.repeated] = "duplicate_member"
    status[samples.scattered] = "scattered"
    for row, (key, repaired) in enumerate(zip(samples.keys, keys, strict=True)):
        if key is not repaired:
            status[row] = "bad_name"
    return status


def _image_rows(files: Sequence[tuple[int, ImageFile, str]], reading: _Reading) -> _Part:
    count = len(files)
    size = np.array([image.size for _, image, _ in files], np.int64)
    labels = [None if image.label is None else _repair(image.label) for _, image, _ in files]
    status = np.full(count, OK, object)
    status[size == 0] = "empty_image"
    status[size == MISSING] = "not_a_file"
    for row, (_, image, key) in enumerate(files):
        if not _is_text(image.name) or not _is_text(key):
            status[row] = "bad_name"
    nothing = np.full(count, MISSING, np.int64)
    return _Part(
        keys=[_repair(key) for _, _, key in files],
        label=code_names(labels, reading.labels),
        group=np.full((len(reading.group_fields), count), ABSENT, np.int32),
        shard=np.array([number for number, _, _ in files], np.int32),
        offset=nothing,
        size=nothing,
        image_offset=np.where(size == MISSING, MISSING, 0),
        image_size=size,
        status=status,
    )


def _join(parts: Sequence[_Part], groups: int) -> _Part:
    if not parts:
        empty, none = np.empty(0, np.int64), np.empty(0, np.int32)
        no_group = np.empty((groups, 0), np.int32)
        return _Part([], none, no_group, none, empty, empty, empty, empty, np.empty(0, object))
    return _Part(
        keys=[key for part in parts for key in part.keys],
        label=np.concatenate([part.label for part in parts]),
        group=np.concatenate([part.group for part in parts], axis=1),
        shard=np.concatenate([part.shard for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        size=np.concatenate([part.size for part in parts]),
        image_offset=np.concatenate([part.image_offset for part in parts]),
        image_size=np.concatenate([part.image_size for part in parts]),
        status=np.concatenate([part.status for part in parts]),
    )


def _resolve_groups(
    fields: Sequence[str], part: _Part, reading: _Reading, label: NDArray[np.int32], names: list[str]
) -> tuple[NDArray[np.int32], list[str]]:
    read = iter(zip(part.group, reading.groups, strict=False))
    crossed: list[tuple[NDArray[np.int32], Sequence[int | str]]] = []
    for name in fields:
        if name == CLASS_WORD:
            crossed.append((label, names))
        else:
            codes, values = next(read)
            crossed.append((codes, values.known()))
    return resolve_groups(crossed)


def _mark_duplicates(keys: Sequence[str], status: NDArray[np.object_]) -> None:
    """Give all but the first row of a key the status `duplicate_key`."""
    if len(set(keys)) == len(keys):
        return
    seen: set[str] = set()
    for row, key in enumerate(keys):
        if status[row] == "bad_name":
            continue
        if key in seen and status[row] != "scattered":
            status[row] = "duplicate_key"
        seen.add(key)


def _repair(name: str) -> str:
    """A name that Arrow can hold: bytes that are no UTF-8 are written out as backslash escapes."""
    return (
        name
        if _is_text(name)
        else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\0")
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def _hint(located: Located, label: NDArray[np.int32], fields: list[str], label_field: str | None) -> str:
    if not located.tars and len(located.folders) == 1:
        return inner_folder_hint(str(located.folders[0][0]), located.folders[0][1])
    if not located.tars or (label >= 0).any():
        return ""
    shown = ", ".join(fields[:8])
    if label_field is not None:
        return f"no sample has a label in the field {label_field!r} of a .json member (members: {shown})"
    return f"no sample has a label in a .cls member (members: {shown}); --label-field names a field of .json"
