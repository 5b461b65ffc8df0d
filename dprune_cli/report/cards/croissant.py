"""What a data set is made of, as Croissant 1.1 in JSON-LD: http://mlcommons.org/croissant/1.1.

Of what the format wants, the licence, the URL, the creator and the date of publication are not known here,
and nothing is made up for them.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from typing import Any

from dprune_cli import __version__
from dprune_cli.io.folder_out import class_folders
from dprune_cli.report.cards.subject import Subject, written_options
from dprune_cli.stages.output_contents import FolderContents, ShardContents

Node = dict[str, Any]

VERSION = "http://mlcommons.org/croissant/1.1"
_TERMS = [
    "annotation",
    "arrayShape",
    "citeAs",
    "column",
    "containedIn",
    "equivalentProperty",
    "excludes",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isArray",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "readLines",
    "repeated",
    "replace",
    "samplingRate",
    "sdVersion",
    "separator",
    "source",
    "subField",
    "transform",
    "unArchive",
    "value",
]
_CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    **{term: f"cr:{term}" for term in _TERMS},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}
_MEDIA = {"jpg": "jpeg"}
_LICENSE = "Unknown. Look it up for the source data set before this one is passed on."
# The key of a sample: its path up to the first dot of the base name. It finds a key in a key as well.
_KEY = r"^((?:.*/)?[^/.]+)(?:\.[^/]*)?$"
_FOLDER = r"^([^/]+)(?:/.*)?$"


def describe_shards(subject: Subject, contents: ShardContents) -> Node:
    """Shards with their sha256, and how keys, images and labels are read out of them."""
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": shard.name,
            "name": shard.name,
            "contentUrl": shard.name,
            "contentSize": f"{shard.size} B",
            "encodingFormat": "application/x-tar",
            "sha256": digest,
        }
        for shard, digest in zip(contents.shards, contents.digests, strict=True)
    ]
    inside = [{"@id": shard.name} for shard in contents.shards]
    known, ids = contents.label_kind in ("ids", "names"), contents.label_kind == "ids"
    sets, records = [], [_classes(subject.names)]
    if contents.images:
        others = _clashes(contents.images, [*contents.labels, *contents.others])
        sets.append(_files("image-files", contents.images, excludes=others, inside=inside))
        records.append(_samples(labelled=known, ids=ids))
    if known:
        others = _clashes(contents.labels, [*contents.images, *contents.others])
        sets.append(
            _files("label-files", contents.labels, excludes=others, inside=inside, media="text/plain")
        )
        records.insert(1, _labels(ids))
    return _dataset(subject, [*objects, *sets], records)


def describe_folder(subject: Subject, contents: FolderContents) -> Node:
    """Images in class folders, and how they and their labels are read."""
    records = [_classes(subject.names, class_folders(subject.names))]
    sets = []
    if contents.samples:
        sets.append(_files("image-files", contents.suffixes, below="*/"))
        records.append(_images())
    return _dataset(subject, sets, records)


def _dataset(subject: Subject, distribution: Sequence[Node], records: Sequence[Node]) -> Node:
    found: Node = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": subject.title,
        "description": f"{subject.kept} of {subject.available} images in {len(subject.names)} classes, kept "
        "by dprune. README.md says how they were chosen and how to read them.",
        "conformsTo": VERSION,
        "license": {"@type": "sc:CreativeWork", "name": _LICENSE},
        "keywords": ["image-classification", "data-set-pruning"],
        "isLiveDataset": False,
    }
    if subject.fingerprint:
        found["prov:wasDerivedFrom"] = {
            "@id": f"urn:dprune:{subject.fingerprint}",
            "@type": "prov:Entity",
            "prov:label": f"data set with the dprune fingerprint {subject.fingerprint}",
        }
    found["prov:wasGeneratedBy"] = [
        {
            "@type": "prov:Activity",
            "prov:label": f"dprune {step['command']}",
            "description": written_options(step["options"]),
        }
        for step in subject.steps
    ]
    found["prov:wasAttributedTo"] = {"@type": "prov:SoftwareAgent", "prov:label": f"dprune {__version__}"}
    return found | {"distribution": list(distribution), "recordSet": list(records)}


def _classes(names: Sequence[str], folders: Sequence[str] = ()) -> Node:
    """Class names by id, and the folders of images by class."""
    columns: dict[str, tuple[str, Sequence[int | str]]] = {
        "id": ("sc:Integer", range(len(names))),
        "name": ("sc:Text", names),
    }
    if folders:
        columns["folder"] = ("sc:Text", folders)
    fields = [_field(f"classes/{name}", kind) for name, (kind, _) in columns.items()]
    rows = zip(*(values for _, values in columns.values()), strict=True)
    return {
        **_record_set("classes", "classes/id", fields),
        "dataType": "sc:Enumeration",
        "data": [
            {f"classes/{name}": value for name, value in zip(columns, row, strict=True)} for row in rows
        ],
    }


def _labels(ids: bool) -> Node:
    content = _from_files("label-files", "content")
    return _record_set(
        "labels",
        "labels/key",
        [
            _field("labels/key", "sc:Text", source=_from_files("label-files", "fullpath", _KEY)),
            _field("labels/label", ["sc:Integer" if ids else "sc:Text", "cr:Label"], source=content),
        ],
    )


def _samples(*, labelled: bool, ids: bool) -> Node:
    key = _field("samples/key", "sc:Text", source=_from_files("image-files", "fullpath", _KEY))
    fields = [key, _image()]
    if labelled:
        # Bare references, which the format has too, are nothing to mlcroissant.
        key["references"] = {"field": {"@id": "labels/key"}}
        kind = ["sc:Integer" if ids else "sc:Text", "cr:Label"]
        fields.append(_field("samples/label", kind, source={"field": {"@id": "labels/label"}}))
    return _record_set("samples", "samples/key", fields)


def _images() -> Node:
    path = _field("samples/path", "sc:Text", source=_from_files("image-files", "fullpath"))
    # No reference to `classes/folder`: mlcroissant joins by it, and loses the path while it does.
    folder = _field(
        "samples/folder",
        ["sc:Text", "cr:Label"],
        description="The folder of the class, as in classes/folder.",
        source=_from_files("image-files", "fullpath", _FOLDER),
    )
    return _record_set("samples", "samples/path", [path, _image(), folder])


def _image() -> Node:
    return _field("samples/image", "sc:ImageObject", source=_from_files("image-files", "content"))


def _record_set(name: str, key: str, fields: Sequence[Node]) -> Node:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": key}, "field": list(fields)}


def _field(name: str, kind: str | Sequence[str], **more: Node | str) -> Node:
    return {"@type": "cr:Field", "@id": name, "name": name, "dataType": kind, **more}


def _from_files(files: str, what: str, regex: str | None = None) -> Node:
    found: Node = {"fileSet": {"@id": files}, "extract": {"fileProperty": what}}
    return found | ({"transform": {"regex": regex}} if regex else {})


def _files(
    name: str,
    fields: Sequence[str],
    *,
    excludes: Sequence[str] = (),
    inside: Sequence[Node] = (),
    media: str | None = None,
    below: str = "",
) -> Node:
    """Files that end with one of some fields, at any depth below folders of a pattern."""
    found: Node = {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "encodingFormat": media or sorted({_media_type(field) for field in fields}),
        "includes": _patterns(fields, below),
    }
    if inside:
        found["containedIn"] = list(inside)
    return found | ({"excludes": _patterns(excludes)} if excludes else {})


def _patterns(fields: Iterable[str], below: str = "") -> list[str]:
    return [f"{below}{depth}*.{glob.escape(field)}" for field in fields for depth in ("", "**/")]


def _clashes(wanted: Sequence[str], others: Sequence[str]) -> list[str]:
    """Other fields that end like wanted ones, so that a pattern for these finds them too."""
    return [other for other in others if any(other.endswith(f".{field}") for field in wanted)]


def _media_type(field: str) -> str:
    """The media type of the images of a field or suffix.

    >>> _media_type("JPG"), _media_type("seg.png")
    ('image/jpeg', 'image/png')
    """
    suffix = field.rpartition(".")[2].lower()
    return f"image/{_MEDIA.get(suffix, suffix)}"
