"""Make the data sets that the scripts beside this file read: shards for train, val and test.

From Parquet files with the columns `key` (text, `class/name`), `label` (integer), `class` (text) and `image`
(encoded bytes), copied byte for byte:

    python unpack.py DIR/cifar10 --train train.parquet --test test.parquet

or from CIFAR-10 or CIFAR-100 as torchvision downloads it, whose raw pixels become PNG files, without loss:

    python unpack.py DIR/cifar10 --torchvision cifar10 --download FOLDER

`val` is the first half of every class's test images and `test` the second, as in the experiments of DRoP
(Vysogorets, Ahuja, Kempe, ICLR 2025); both together are the published test set.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SHARD_SAMPLES = 10_000
BATCH = 1024
MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}


@dataclass(frozen=True)
class Source:
    """One part of a data set.

    Attributes:
        keys: (N,) `class/name`, each once.
        labels: (N,) class ids.
        classes: names by id.
        images: N encoded images, once, in the same order.
    """

    keys: list[str]
    labels: list[int]
    classes: list[str]
    images: Iterator[bytes]


def read_parquet(path: Path) -> Source:
    """A part from a Parquet file.

    Raises:
        ValueError: the ids are not 0 to C - 1, or one has two names.
    """
    file = pq.ParquetFile(path)
    about = file.read(["key", "label", "class"]).to_pydict()
    pairs = sorted(set(zip(about["label"], about["class"], strict=True)))
    if [label for label, _ in pairs] != list(range(len(pairs))):
        raise ValueError(f"{path}: columns label and class must number the classes from 0, one name an id")
    batches = file.iter_batches(BATCH, columns=["image"])
    images = (image for batch in batches for image in batch["image"].to_pylist())
    return Source(about["key"], about["label"], [name for _, name in pairs], images)


def read_torchvision(name: str, folder: Path, *, train: bool) -> Source:
    """A part of CIFAR as torchvision has it; downloads it if `folder` lacks it."""
    from torchvision import datasets

    kind: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    # These archives hold pickled arrays; torchvision compares checksums before it opens them.
    found = kind(str(folder), train=train, download=True)
    names = [text.replace(" ", "_") for text in found.classes]
    keys = [f"{names[label]}/{row:05}" for row, label in enumerate(found.targets)]
    return Source(keys, list(found.targets), names, map(encode_png, found.data))


def encode_png(pixels: Any) -> bytes:
    """(S, S, 3) uint8 pixels as a PNG file."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def first_halves(labels: Sequence[int]) -> list[bool]:
    """(N,) whether a sample is in the first half of its class, in the order given.

    >>> first_halves([0, 1, 0, 1, 0, 1, 0, 1, 1])
    [True, True, True, True, False, False, False, False, False]
    """
    sizes, seen, first = Counter(labels), Counter[int](), []
    for label in labels:
        first.append(seen[label] < sizes[label] // 2)
        seen[label] += 1
    return first


def suffix_of(image: bytes) -> str:
    """`jpg`, `png` or `webp` by how the bytes begin.

    >>> suffix_of(b"RIFF....WEBP")
    'webp'
    """
    for magic, suffix in MAGIC.items():
        if image.startswith(magic):
            return suffix
    raise ValueError(f"an image begins with {image[:4]!r}, which is neither JPEG nor PNG nor WebP")


def write_shards(folder: Path, classes: Sequence[str], samples: Iterable[tuple[str, int, bytes]]) -> int:
    """Write shards of (key, label, image), and the class names; returns how many samples."""
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), "utf-8")
    left, count = refuse_bad_keys(samples), 0
    while shard := list(itertools.islice(left, SHARD_SAMPLES)):
        path = folder / f"{count // SHARD_SAMPLES:06}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            for key, label, image in shard:
                for suffix, content in ((suffix_of(image), image), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        count += len(shard)
    return count


def refuse_bad_keys(samples: Iterable[tuple[str, int, bytes]]) -> Iterator[tuple[str, int, bytes]]:
    """The samples; `ValueError` at a key that was there before, or that would end at a dot."""
    seen = set()
    for key, label, image in samples:
        if key in seen or "." in key.rpartition("/")[2]:
            raise ValueError(f"key {key!r} stands there twice, or has a dot, where a key would end")
        seen.add(key)
        yield key, label, image


def unpack(out: Path, train: Source, test: Source) -> dict[str, int]:
    """Write OUT/train, OUT/val and OUT/test, all or none; returns how many samples are in each.

    Raises:
        ValueError: train and test have other classes, or OUT is there.
    """
    if train.classes != test.classes:
        raise ValueError("train and test do not have the same classes")
    if out.exists():
        raise ValueError(f"{out} is there already")
    part = out.with_name(f"{out.name}.part{os.getpid()}")
    first = first_halves(test.labels)
    counts = {"train": write_shards(part / "train", train.classes, samples_of(train))}
    # Read whole, because its images can be passed over once only.
    tested = list(samples_of(test))
    for name, wanted in (("val", True), ("test", False)):
        chosen = (one for one, is_first in zip(tested, first, strict=True) if is_first is wanted)
        counts[name] = write_shards(part / name, test.classes, chosen)
    part.rename(out)
    return counts


def samples_of(source: Source) -> Iterator[tuple[str, int, bytes]]:
    """Its (key, label, image)."""
    return zip(source.keys, source.labels, source.images, strict=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and unpack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    parser.add_argument("--train", type=Path, metavar="FILE", help="Parquet file of the training images")
    parser.add_argument("--test", type=Path, metavar="FILE", help="Parquet file of the test images")
    parser.add_argument("--torchvision", choices=["cifar10", "cifar100"], help="take torchvision's instead")
    parser.add_argument("--download", type=Path, metavar="FOLDER", help="where torchvision puts or has it")
    given = parser.parse_args(arguments)
    if given.torchvision and given.download:
        parts = [read_torchvision(given.torchvision, given.download, train=train) for train in (True, False)]
    elif given.train and given.test and not given.torchvision:
        parts = [read_parquet(given.train), read_parquet(given.test)]
    else:
        parser.error("give --train and --test, or --torchvision and --download")
    try:
        counts = unpack(given.out, *parts)
    except ValueError as error:
        sys.exit(f"unpack.py: {error}")
    print(", ".join(f"{given.out / name}: {count} samples" for name, count in counts.items()))


if __name__ == "__main__":
    main()
