"""Writing samples as an image folder: hard links or copies of files, or images unpacked from shards.

Names come from data, so nothing is written before it is sure that it stays inside the folder.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Advance, ignore
from dprune_cli.io.remote import RemotePath
from dprune_cli.io.tar_copy import check_spans, checked_spans
from dprune_cli.io.tar_pack import ImageFiles, file_size, read_contents
from dprune_cli.io.tar_plan import Spans

_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)


def safe_parts(name: str) -> list[str]:
    """The parts of a path below a folder that the output gets.

    Empty parts and `.` are dropped, so `/a` and `./a` are `a`.

    Raises:
        DataError: it would leave the folder, or has a zero byte in it.

    >>> safe_parts("/cat/./a")
    ['cat', 'a']
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name or not parts:
        raise DataError(f"key {name!r}: does not name a place inside the output folder")
    return parts


def class_folders(classes: Sequence[str]) -> list[str]:
    """Names of class folders: class names, with `_` for `/`.

    Raises:
        DataError: a name cannot be a folder, or two classes would share one.

    >>> class_folders(["cat", "n/a"])
    ['cat', 'n_a']
    """
    names = [name.replace("/", "_") for name in classes]
    counts = Counter(names)
    for name, folder in zip(classes, names, strict=True):
        if folder in ("", ".", "..") or "\0" in folder:
            raise DataError(f"class {name!r}: cannot be the name of a folder; rename it with --classes")
        if counts[folder] > 1:
            raise DataError(f"class {name!r}: another class would get the same folder {folder!r}")
    return names


def write_images(files: ImageFiles, out: Path, classes: Sequence[str], *, written: Advance = ignore) -> int:
    """Hard link image files into `out/class/...`, or copy them where links are impossible.

    The path below the class folder is the one the image had; its name is the original one, whatever
    its key. `written` is told how many there are already.

    Returns:
        The number of files.

    Raises:
        DataError: an image is missing, or two would get the same name.
        OSError: the disk is full, or the like.
    """
    folders = class_folders(classes)
    remote = [path for path in files.paths if isinstance(path, RemotePath)]
    contents = read_contents(remote, map(file_size, remote))
    for done, (path, key, label) in enumerate(
        zip(files.paths, files.keys, files.label.tolist(), strict=True)
    ):
        written(done, len(files))
        inner, slash, _ = key.rpartition("/")
        name = inner + slash + path.name
        target = _prepare(out, _below(folders[label], classes[label], name), key)
        if isinstance(path, RemotePath):
            _write_new(target, next(contents), key)
            continue
        try:
            # A link to a link would dangle or follow later changes; the file itself is linked.
            source = os.path.realpath(path, strict=True)
        except OSError:
            raise DataError(f"{path}: is missing; key {key!r} was there when it was scored") from None
        _link_or_copy(source, target, key)
    written(len(files), len(files))
    return len(files)


def unpack_images(
    spans: Spans,
    label: NDArray[np.integer],
    out: Path,
    classes: Sequence[str],
    *,
    checked: Advance = ignore,
    written: Advance = ignore,
) -> int:
    """Write the image members of samples to `out/class/KEY.ext`.

    A first part of the key that equals the class is not repeated. `checked` and `written` are told how many
    samples are.

    Returns:
        The number of files.

    Raises:
        DataError: a shard changed since it was scored, a name would leave `out`, or two are the same.
        OSError: the disk is full, or the like.
    """
    folders = class_folders(classes)
    check_spans(spans, checked)
    done = 0
    for rows, buffer, samples in checked_spans(spans):
        begin, size = samples.span(samples.image)
        for place, row in enumerate(rows.tolist()):
            key, number = spans.keys[row], int(label[row])
            if begin[place] < 0:
                raise DataError(f"key {key!r}: has no image in {spans.paths[int(spans.source[row])]}")
            suffix = samples.image_field[place].rpartition(".")[2]
            parts = _below(folders[number], classes[number], f"{key}.{suffix}")
            target = _prepare(out, parts, key)
            _write_new(target, buffer[int(begin[place]) : int(begin[place] + size[place])], key)
            done += 1
            written(done, len(spans))
    return len(spans)


def _write_new(target: Path, content: bytes, key: str) -> None:
    try:
        with open(target, "xb") as sink:
            sink.write(content)
    except (FileExistsError, IsADirectoryError):
        raise _collision(target, key) from None


def _below(folder: str, name: str, path: str) -> list[str]:
    parts = safe_parts(path)
    return [folder, *(parts[1:] if len(parts) > 1 and parts[0] == name else parts)]


def _prepare(out: Path, parts: list[str], key: str) -> Path:
    target = out.joinpath(*parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _collision(target, key) from None
    return target


def _collision(target: Path, key: str) -> DataError:
    return DataError(
        f"key {key!r}: another sample is {target.name} in the folder {target.parent.name} already"
    )


def _link_or_copy(source: str, target: Path, key: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise _collision(target, key) from None
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        try:
            with open(source, "rb") as content, open(target, "xb") as sink:
                shutil.copyfileobj(content, sink, 1 << 20)
        except FileExistsError:
            raise _collision(target, key) from None
