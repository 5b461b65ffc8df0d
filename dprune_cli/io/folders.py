"""Image folders: one folder a class, images at any depth below it (torchvision's `ImageFolder` rule)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dprune_cli.core.errors import DataError
from dprune_cli.io.keys import split_name
from dprune_cli.io.remote import Place

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "bmp"})
# Images too, but of kinds that are not decoded; other files belong beside images, and are nobody's loss.
OTHER_SUFFIXES = frozenset(
    {"avif", "cr2", "dng", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jxl", "tif", "tiff"}
)
TAR_SUFFIX = ".tar"


@dataclass(frozen=True)
class ImageFile:
    """An image of a folder.

    Attributes:
        name: path below the root, parts joined by `/`.
        label: the first folder of `name`; None for an image directly in the root.
        size: bytes; -1 if it is a broken link or no regular file.
    """

    name: str
    label: str | None
    size: int


@dataclass(frozen=True)
class FolderContent:
    """What a folder holds.

    Attributes:
        images, tars: sorted by name.
        others: images of kinds that are not decoded, by suffix.
    """

    images: list[ImageFile]
    tars: list[str]
    others: Mapping[str, int] = field(default_factory=dict)


def scan_folder(root: Path) -> FolderContent:
    """Find the images and tar files below a folder.

    Hidden files and folders are skipped. A linked folder is entered unless the walk was in that folder
    before, so loops end; the walk goes by the order of names, whatever the file system says.

    Raises:
        DataError: a folder cannot be read.
    """
    return sort_content(_walk(root, "", set()))


def sort_content(found: Iterable[tuple[str, int]]) -> FolderContent:
    """Images and tar files among files of a folder; whatever is hidden or neither is left out.

    Args:
        found: names below the folder, and sizes; -1 for what is no regular file.
    """
    images, tars, others = [], [], Counter[str]()
    for name, size in found:
        if any(part.startswith(".") for part in name.split("/")) or not _is_wanted(name):
            continue
        if (suffix := _suffix(name)) in OTHER_SUFFIXES:
            others[suffix] += 1
        elif name.endswith(TAR_SUFFIX):
            if size >= 0:
                tars.append(name)
        else:
            first, slash, _ = name.partition("/")
            images.append(ImageFile(name, first if slash else None, size))
    return FolderContent(sorted(images, key=lambda image: image.name), sorted(tars), others)


def _walk(root: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Names and sizes below `root`; every folder in the order of its names."""
    stack = [prefix]
    while stack:
        here = stack.pop()
        below: list[str] = []
        try:
            info = os.stat(root / here)
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(root / here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{root / here}: cannot be read ({error.strerror})") from None
        for entry in entries:
            name = here + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(name + "/")
            elif entry.is_symlink() and os.path.isdir(entry.path):
                info = os.stat(entry.path)
                if (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    below.append(name + "/")
            elif _is_wanted(name):
                yield name, entry.stat().st_size if os.path.isfile(entry.path) else -1
        stack += reversed(below)


def _is_wanted(name: str) -> bool:
    return _suffix(name) in IMAGE_SUFFIXES | OTHER_SUFFIXES or name.endswith(TAR_SUFFIX)


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def left_out(root: Place, content: FolderContent) -> str:
    """What to say of the images of a folder that are not decoded; empty if there is none.

    >>> left_out(Path("photos"), FolderContent([], [], {"heic": 2, "gif": 1}))
    'photos: 3 images are left out, for they are no JPEG, PNG, WebP or BMP (1 gif, 2 heic)'
    """
    if not content.others:
        return ""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(content.others.items()))
    count = sum(content.others.values())
    return f"{root}: {count} images are left out, for they are no JPEG, PNG, WebP or BMP ({kinds})"


def image_keys(names: Sequence[str]) -> list[str | None]:
    """The keys of the image files of a data set, by their names.

    A key is the path up to the first dot of the base name, as WebDataset has it. Where two files would
    get the same key by that, those of them that have more dots take the path up to the last dot, with `_`
    for the dots inside the base name, so that they can be packed. A file whose new key another file has
    by the first rule keeps the old one; keys that are still equal afterwards are duplicates.

    Returns:
        Keys in the order of `names`; None for a name that has no key.

    >>> image_keys(["a/x.0.jpg", "a/x.1.jpg", "a/x.jpg", "a/x.png", "a/y.v2.jpg"])
    ['a/x_0', 'a/x_1', 'a/x', 'a/x', 'a/y']
    """
    keys = [None if (split := split_name(name)) is None else split[0] for name in names]
    counts = Counter(keys)
    if len(counts) == len(keys):
        return keys
    return [
        key if key is None or counts[key] == 1 or (other := _long_key(name)) in counts else other
        for name, key in zip(names, keys, strict=True)
    ]


def _long_key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.rpartition(".")[0].replace(".", "_")


def check_content(root: Place, content: FolderContent) -> None:
    """`DataError` if a folder holds both shards and images in class folders; the user has to say which."""
    labelled = next((image for image in content.images if image.label is not None), None)
    if content.tars and labelled is not None:
        raise DataError(
            f"{root}: holds both shards ({content.tars[0]}) and images ({labelled.name}); "
            "name those that are meant"
        )


def inner_folder_hint(root: str, content: FolderContent) -> str:
    """What to say if the images of a folder have one class only, because a folder too far out was named.

    Returns:
        A sentence, or nothing if the folder has several classes or no folders inside the one class.
    """
    labels = {image.label for image in content.images if image.label is not None}
    if len(labels) != 1:
        return ""
    (label,) = labels
    inner = {parts[1] for image in content.images if len(parts := image.name.split("/")) > 2}
    if len(inner) < 2:
        return ""
    folder = Path(root) / str(label)
    return f"{root} has one class folder, {label}, with {len(inner)} folders in it; did you mean {folder}?"
