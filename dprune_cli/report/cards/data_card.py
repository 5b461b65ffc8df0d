"""The data-set card: a `README.md` with the front matter that the Hugging Face hub reads.

https://huggingface.co/docs/hub/datasets-cards, https://huggingface.co/docs/hub/datasets-manual-configuration
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dprune_cli.report.cards.examples import read_folder, read_shards
from dprune_cli.report.cards.front_matter import front_matter
from dprune_cli.report.cards.markdown import fenced, plain, table
from dprune_cli.report.cards.subject import Subject, counted
from dprune_cli.report.wording import visible, written
from dprune_cli.stages.output_contents import FolderContents, ShardContents
from dprune_cli.stages.select import Left

_MOST_ROWS = 100
# The hub's own words, the first bound that is larger than the number of samples.
_SIZES = [
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
]
_LARGEST = "10B<n<100B"

_LICENSE = """\
The license is not known to `dprune`. Look it up for the source data set, and write it into the first lines
of this file and into `croissant.json` before this data set is passed on.
"""


def card_of_shards(subject: Subject, contents: ShardContents) -> str:
    """The card of a folder of shards."""
    told: dict[str, Any] = {}
    if contents.shards:
        told["configs"] = [_config("*.tar")]
    if features := shard_features(subject, contents):
        told["dataset_info"] = {"config_name": "default", "features": features}
    form = counted(len(contents.shards), ["WebDataset shard", "WebDataset shards"])
    return _card(subject, told, form, read_shards(subject, contents))


def card_of_folder(subject: Subject, contents: FolderContents) -> str:
    """The card of an image folder."""
    told: dict[str, Any] = {}
    if contents.samples:
        # Images in no class folder are no samples.
        paths = [f"*/**/*.{suffix}" for suffix in contents.suffixes]
        # Labels are the names of the folders that images stand in, which only flat folders have right.
        told["configs"] = [{**_config(paths), "drop_labels": not contents.flat}]
        told["dataset_info"] = {"config_name": "default", "features": folder_features(contents)}
    form = counted(len(contents.folders), ["class folder", "class folders"])
    return _card(subject, told, form, read_folder(subject, contents))


def shard_features(subject: Subject, contents: ShardContents) -> list[dict[str, Any]]:
    """Types of what the hub finds in shards; empty where it has to find out for itself."""
    if contents.others or not contents.images or contents.label_kind not in ("ids", "none"):
        return []
    features: list[dict[str, Any]] = [{"name": field, "dtype": "image"} for field in contents.images]
    features += [{"name": field, "dtype": _classes(subject.names)} for field in contents.labels]
    return [*features, *({"name": name, "dtype": "string"} for name in ("__key__", "__url__"))]


def folder_features(contents: FolderContents) -> list[dict[str, Any]]:
    """Types of what the hub finds in an image folder: it numbers the folders that are there."""
    label = [{"name": "label", "dtype": _classes(contents.folders)}] if contents.flat else []
    return [{"name": "image", "dtype": "image"}, *label]


def _classes(names: Sequence[str]) -> dict[str, Any]:
    return {"class_label": {"names": {str(number): name for number, name in enumerate(names)}}}


def _config(path: str | Sequence[str]) -> dict[str, Any]:
    return {"config_name": "default", "data_files": [{"split": "train", "path": path}]}


def _card(subject: Subject, told: dict[str, Any], form: str, reading: str) -> str:
    head = {
        "license": "unknown",
        "task_categories": ["image-classification"],
        "size_categories": [_size(subject.kept)],
        **told,
    }
    classes = counted(len(subject.names), ["class", "classes"])
    return "\n".join(
        [
            front_matter(head),
            f"# {plain(subject.title)}\n",
            f"{subject.kept:,} of {subject.available:,} images in {classes}, kept by `dprune` and written as "
            f"{form}. The images are byte for byte those of the source data set.\n",
            _kept(subject),
            f"## How to read it\n\n{reading}",
            _provenance(subject),
            f"## License\n\n{_LICENSE}",
        ]
    )


def _size(samples: int) -> str:
    return next((name for bound, name in _SIZES if samples < bound), _LARGEST)


def _kept(subject: Subject) -> str:
    """By which command samples were kept, and how many of every class and group."""
    lines = ["## What was kept\n", "The samples were chosen by this command:\n"]
    lines.append(_commands(subject.commands[-1:]))
    if subject.paper is not None:
        lines.append(f"What they were ranked by is described in {plain(subject.paper)}\n")
    for left in (subject.classes, *([subject.groups] if subject.groups else [])):
        lines.append(_counts(left))
    return "\n".join(lines)


def _counts(left: Left) -> str:
    coverage = left.coverage
    numbers = [coverage.available.tolist(), coverage.kept.tolist(), coverage.density.tolist()]
    rows = [
        (plain(name), str(number), f"{available:,}", f"{kept:,}", written(density, "fraction"))
        for number, (name, available, kept, density) in enumerate(zip(left.names, *numbers, strict=True))
    ]
    found = table((left.by, "id", "available", "kept", "density"), rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        found += f"\nThe first {_MOST_ROWS} of {len(rows):,}.\n"
    return found


def _provenance(subject: Subject) -> str:
    lines = ["## Where it comes from\n"]
    if subject.fingerprint:
        lines.append(
            f"The source data set has the fingerprint `{subject.fingerprint}`, a sha256 over the "
            "sorted keys, labels and sizes of its samples.\n"
        )
    if subject.root:
        lines.append(f"It was read from {plain(subject.root)}.\n")
    lines.append("These commands made it; the names of files between them are placeholders:\n")
    lines.append(_commands(subject.commands))
    return "\n".join(lines)


def _commands(lines: Sequence[str]) -> str:
    return fenced("\n".join(visible(line) for line in lines), "sh")
