"""Names of classes that travel with shards: in `classes.txt` beside them, or in the head of a tar stream.

A stream has no file beside it, so its first header is a PAX global one whose standard keyword `comment`
holds `{"dprune": {"classes": [...]}}` as JSON. Readers of tar pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from dprune_cli.core.errors import DataError
from dprune_cli.io.remote import Place, parse_place
from dprune_cli.io.tar_header import BLOCK, make_global, parse_number, parse_pax
from dprune_cli.io.tar_walk import Buffer

CLASSES_FILE = "classes.txt"
_COMMENT = b"comment"
_LONGEST = 1 << 27


def stream_head(classes: Sequence[str]) -> bytes:
    """The first bytes of a tar stream that says how its classes are called; none without names."""
    if not classes:
        return b""
    content = {"dprune": {"classes": list(classes)}}
    return make_global(_COMMENT, json.dumps(content, separators=(",", ":")).encode())


def names_in_stream(buffer: Buffer) -> list[str] | None:
    """Class names by id that the first header of an archive tells, or None.

    A comment that somebody else wrote is no error, whatever it holds.

    >>> names_in_stream(stream_head(["cat", "ape"])), names_in_stream(b"")
    (['cat', 'ape'], None)
    """
    if len(buffer) < BLOCK or buffer[156] != ord("g"):
        return None
    size = parse_number(buffer[124:136])
    if not 0 <= size <= _LONGEST:
        return None
    comment = parse_pax(buffer[BLOCK : BLOCK + size]).get(_COMMENT)
    if comment is None:
        return None
    try:
        content = json.loads(comment)
        names = content["dprune"]["classes"]
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return None
    if not isinstance(names, list) or not all(_is_name(name) for name in names):
        return None
    return names if names and len(set(names)) == len(names) else None


def _is_name(name: object) -> bool:
    # Lone surrogates cannot be written as UTF-8, so no table could hold the name.
    return isinstance(name, str) and name.encode("utf-8", "replace").decode() == name and "\0" not in name


def names_beside(folders: Iterable[Place]) -> list[str] | None:
    """Class names from the `classes.txt` of whatever folders have one.

    Raises:
        DataError: two differ, or one cannot be read.
    """
    files = [folder / CLASSES_FILE for folder in dict.fromkeys(folders)]
    return agreed({str(path): read_classes(path) for path in files if path.is_file()})


def agreed(names: Mapping[str, list[str]]) -> list[str] | None:
    """The class names that all places give, or None if there are no places.

    Raises:
        DataError: two places differ.
    """
    found = iter(names.items())
    first = next(found, None)
    if first is None:
        return None
    for place, other in found:
        if other != first[1]:
            raise DataError(f"{first[0]} and {place}: give classes different names; say which with --classes")
    return first[1]


def read_classes(place: str | Place) -> list[str]:
    """Class names by id from a text file, one a line.

    Raises:
        DataError: it cannot be read, is no UTF-8, has an empty line between names, or a name twice.
    """
    path = parse_place(place)
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no UTF-8 text") from None
    names = [line.strip() for line in text.rstrip().split("\n")]
    if not all(names):
        raise DataError(f"{path}: line {names.index('') + 1} is empty; write one class name a line")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"{path}: the class {twice!r} stands in it twice")
    return names
