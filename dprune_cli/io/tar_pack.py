"""Packing image files into shards, and the index that stands beside shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.config import SHARD_BYTES, SHARD_SAMPLES
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Advance, ignore
from dprune_cli.io.class_names import CLASSES_FILE, read_classes, stream_head
from dprune_cli.io.remote import Place, RemotePath
from dprune_cli.io.remote_retry import in_flight
from dprune_cli.io.tar_header import BLOCK, END, make_header
from dprune_cli.io.tar_plan import Meter, Shard, gather_shards, own_shards
from dprune_cli.io.tar_samples import is_meta

__all__ = [
    "CLASSES_FILE",
    "INDEX_FILE",
    "ImageFiles",
    "extension",
    "pack_images",
    "read_classes",
    "stream_images",
    "write_index",
]

INDEX_FILE = "index.json"
_AT_ONCE = 16


@dataclass(frozen=True)
class ImageFiles:
    """K image files in the order in which they are to be written.

    Attributes:
        paths: (K,) files.
        keys: (K,) keys that they get.
        label: (K,) class ids.
    """

    paths: Sequence[Place]
    keys: Sequence[str]
    label: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.keys)


def read_contents(paths: Iterable[Place], sizes: Iterable[int]) -> Iterator[bytes]:
    """The contents of files, in their order; several are fetched at once where they are in a storage.

    Raises:
        DataError: a file cannot be read, or has not the size that it should.
    """
    requests = (partial(_content, path, size) for path, size in zip(paths, sizes, strict=True))
    first = next(requests, None)
    if first is None:
        return
    if isinstance(first.args[0], RemotePath):
        yield from in_flight(chain([first], requests), _AT_ONCE)
    else:
        yield first()
        yield from (request() for request in requests)


def pack_images(
    files: ImageFiles,
    folder: Path,
    *,
    shard_samples: int = SHARD_SAMPLES,
    shard_bytes: int = SHARD_BYTES,
    copied: Advance = ignore,
) -> list[Shard]:
    """Write image files into shards `000000.tar`, ... as members `KEY.jpg` and `KEY.cls` (the class id).

    Contents are copied as they are; headers are always the same (time 0, mode 0644, owner 0), so the
    same files in the same order give the same bytes. Every process writes some of the shards. `copied` is
    told how many bytes it wrote.

    Returns:
        All shards, whoever wrote them.

    Raises:
        DataError: a file is missing, or WebDataset would skip its key.
        OSError: the disk is full, or the like.
    """
    packed = _Packed(files)
    shards = []
    plans = own_shards(packed.size, shard_samples, shard_bytes)
    meter = Meter(sum(int(packed.size[plan.first : plan.after].sum()) for plan in plans), copied)
    for plan in plans:
        with open(folder / plan.name, "wb") as sink:
            size = packed.write(plan.first, plan.after, sink, meter)
        shards.append(Shard(plan.name, plan.after - plan.first, size))
    return gather_shards(shards)


def stream_images(
    files: ImageFiles, sink: BinaryIO, classes: Sequence[str] = (), *, copied: Advance = ignore
) -> Shard:
    """Write image files as one tar stream to an open file or pipe; members as in `pack_images`.

    Class names, if given, stand in its head, where `open_samples` finds them.

    Raises:
        DataError: a file is missing, or WebDataset would skip its key.
        OSError: the reader went away, the disk is full, or the like.
    """
    packed = _Packed(files)
    # A tar of nothing but a global header is an error to `tarfile`.
    head = stream_head(classes) if len(files) else b""
    sink.write(head)
    size = packed.write(0, len(files), sink, Meter(int(packed.size.sum()), copied))
    sink.flush()
    return Shard("-", len(files), len(head) + size)


class _Packed:
    """Image files as they will stand in a tar.

    Attributes:
        size: (K,) bytes of every sample, headers and padding included.
    """

    def __init__(self, files: ImageFiles) -> None:
        self._heads = [_head(files, row) for row in range(len(files))]
        self._labels = [
            _member(f"{key}.cls", str(int(label)).encode())
            for key, label in zip(files.keys, files.label, strict=True)
        ]
        lengths = [len(head) + size + (-size % BLOCK) for head, _, size in self._heads]
        self.size = np.array(lengths, np.int64) + np.array([len(label) for label in self._labels], np.int64)

    def write(self, first: int, after: int, sink: BinaryIO, meter: Meter) -> int:
        """Write samples and the end mark; returns the bytes written."""
        heads = self._heads[first:after]
        contents = read_contents((path for _, path, _ in heads), (size for _, _, size in heads))
        for (head, _, size), content, label in zip(heads, contents, self._labels[first:after], strict=True):
            sample = head + content + bytes(-size % BLOCK) + label
            sink.write(sample)
            meter.add(len(sample))
        sink.write(END)
        return int(self.size[first:after].sum()) + len(END)


def _head(files: ImageFiles, row: int) -> tuple[bytes, Place, int]:
    path, key = files.paths[row], files.keys[row]
    if is_meta(key):
        raise DataError(
            f"key {key!r}: WebDataset takes names like __this__ for metadata; rename the folder {path.parent}"
        )
    return make_header(f"{key}.{extension(path.name)}", size := file_size(path)), path, size


def file_size(path: Place) -> int:
    """Bytes of an image file; `DataError` if it is missing."""
    if isinstance(path, RemotePath):
        return path.size()
    try:
        return path.stat().st_size
    except OSError:
        raise DataError(f"{path}: is missing; it was there when it was scored") from None


def extension(name: str) -> str:
    """The last suffix of a name in lower case, without its dot.

    >>> extension("a.v2.JPG")
    'jpg'
    """
    return name.rpartition(".")[2].lower()


def _content(path: Place, size: int) -> bytes:
    try:
        if isinstance(path, RemotePath):
            content = path.read_bytes()
        else:
            with open(path, "rb") as handle:
                content = handle.read(size + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) != size:
        raise DataError(f"{path}: changed while it was read")
    return content


def _member(name: str, content: bytes) -> bytes:
    return make_header(name, len(content)) + content + bytes(-len(content) % BLOCK)


def write_index(folder: Path, shards: Sequence[Shard], classes: Sequence[str] = ()) -> None:
    """Write `index.json` (wids-shard-index-v1), and `classes.txt` if classes are known.

    Names that are the plain ids are written too: they say how many classes there are, whether or not the
    last of them has samples here.

    Raises:
        DataError: a class name has a line break in it, which `classes.txt` cannot hold.
    """
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "shardlist": [
            {"url": shard.name, "nsamples": shard.samples, "filesize": shard.size} for shard in shards
        ],
    }
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if not classes:
        return
    for name in classes:
        if name.splitlines() != [name] or name != name.strip():
            raise DataError(
                f"class {name!r}: {CLASSES_FILE} can hold no line breaks or outer spaces; rename it"
            )
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
