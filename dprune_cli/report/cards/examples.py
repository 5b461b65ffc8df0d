"""How cards say that a data set is read, with code that runs in its folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from dprune_cli.report.cards.markdown import fenced, plain
from dprune_cli.report.cards.subject import Subject
from dprune_cli.stages.output_contents import FolderContents, ShardContents

_CROISSANT = """\
import mlcroissant

records = mlcroissant.Dataset("croissant.json").records("samples")
"""
_DATASETS = """\
import datasets
from pathlib import Path

samples = datasets.load_dataset(str(Path.cwd()), split="train")
"""
_ENERGON = "energon prepare --non-interactive --split-parts 'train:.*' --sample-type CrudeWebdataset ."
_TORCHVISION = """\
import torchvision

samples = torchvision.datasets.ImageFolder(".")
"""


def read_shards(subject: Subject, contents: ShardContents) -> str:
    """What to say of shards."""
    if not contents.shards:
        return "There are no samples.\n"
    label_field = subject.label_field
    parts = [_labels(contents, label_field), "The code is for this folder as the working folder.\n"]
    images = ";".join(dict.fromkeys(field.lower() for field in contents.images))
    if images:
        parts += ["With webdataset:\n", _python(_webdataset(contents, images))]
    if contents.label_kind != "names":
        parts += ["With datasets, which takes the name of a data set on the hub too:\n", _python(_DATASETS)]
    if images and contents.label_kind == "ids":
        parts += ["With timm, which reads `_info.json`:\n", _python(_timm(images))]
    parts.append(_with_croissant(archives=True))
    parts += ["With Megatron Energon, after:\n", fenced(_ENERGON, "sh")]
    field = f" --label-field {shlex.quote(label_field)}" if label_field else ""
    parts += ["With dprune:\n", fenced(f"dprune train .{field} -o RUN", "sh")]
    return "\n".join(parts)


def read_folder(subject: Subject, contents: FolderContents) -> str:
    """What to say of an image folder."""
    if not contents.samples:
        return "There are no samples.\n"
    parts = [
        "Every image stands in the folder of its class. The code is for this folder as the working folder.\n"
    ]
    parts += ["With torchvision:\n", _python(_TORCHVISION)]
    if list(contents.folders) != subject.names:
        parts.append(
            "ImageFolder numbers the class folders in sorted order, and so does datasets. These are not the "
            "ids of the table above: classes are missing, or their names are not sorted. Go by the names.\n"
        )
    parts += ["With datasets, which takes the name of a data set on the hub too:\n", _python(_DATASETS)]
    if not contents.flat:
        parts.append(
            "Some images stand in folders below their class folder, so datasets reads them without labels.\n"
        )
    parts += [_with_croissant(archives=False), "With dprune:\n", fenced("dprune train . -o RUN", "sh")]
    return "\n".join(parts)


def _labels(contents: ShardContents, label_field: str | None) -> str:
    """Where the labels are, and what they are."""
    if label_field:
        return f"The labels are in the field {plain(label_field)} of the `.json` members.\n"
    if contents.label_kind == "ids":
        return "The `.cls` members are class ids; `classes.txt` and the table above have their names.\n"
    if contents.label_kind == "names":
        return (
            "The `.cls` members are class names. The readers of datasets and timm take integers alone; "
            "`dprune select --folder` unpacks what they read.\n"
        )
    if contents.label_kind == "none":
        return "The samples have no `.cls` members.\n"
    return "The labels of the `.cls` members are not those of the table above.\n"


def _webdataset(contents: ShardContents, images: str) -> str:
    names = [shard.name for shard in contents.shards]
    found = contents.json_labels
    members = list(dict.fromkeys(field.lower() for field in found.members)) if found else []
    fields = [images, ";".join(members)] if found else [images, *map(str.lower, contents.labels[:1])]
    # Its decoder takes every `.cls` for an integer.
    only = "" if contents.label_kind == "ids" else f", only={[*images.split(';'), *members]!r}"
    wanted = ", ".join(f'"{field}"' for field in fields)
    code = (
        f'import webdataset\n\nsamples = webdataset.WebDataset("{_pattern(names)}", shardshuffle=False)\n'
        f'samples = samples.decode("pil"{only}).to_tuple({wanted})\n'
    )
    return code + (_take_label(found.path) if found else "")


def _take_label(path: Sequence[str]) -> str:
    """Code that puts the label into the place of the object that it is in."""
    label = "content" + "".join(f"[{name!r}]" for name in path)
    return f"samples = samples.map_tuple(lambda image: image, lambda content: {label})\n"


def _timm(images: str) -> str:
    # Its images are called jpg once they are decoded, so that has to be among the fields.
    fields = ";".join(dict.fromkeys(["jpg", *images.split(";")]))
    return (
        "import timm.data\n\n"
        f'samples = timm.data.create_dataset("wds/", root=".", split="train", input_key="{fields}")\n'
    )


def _pattern(names: Sequence[str]) -> str:
    """A brace pattern for names that are numbers in a row.

    >>> _pattern(["000000.tar", "000001.tar"]), _pattern(["000000.tar"])
    ('{000000..000001}.tar', '000000.tar')
    """
    if len(names) == 1:
        return names[0]
    first, last = (name.removesuffix(".tar") for name in (names[0], names[-1]))
    return f"{{{first}..{last}}}.tar"


def _with_croissant(*, archives: bool) -> str:
    found = f"With mlcroissant:\n\n{_python(_CROISSANT)}"
    if archives:
        found += (
            "\nIt keeps what it unpacks under the name of the archive, so empty its cache folder "
            "(`CROISSANT_CACHE`) before you read another data set with shards of the same names.\n"
        )
    return found


def _python(code: str) -> str:
    return fenced(code.rstrip("\n"), "python")
