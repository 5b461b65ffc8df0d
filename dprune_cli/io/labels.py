"""Class labels and groups of samples: from `.cls` members, fields of `.json` members, or folder names.

Values are read once into small codes (`Values`), because a data set has far fewer classes than samples;
what they mean is settled on the distinct values alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprune_cli.io.table_meta import MOST_CLASSES, OK
from dprune_cli.io.tar_walk import Buffer

ABSENT, UNREADABLE, NO_LABEL_KIND = -1, -2, -3
MISSING_LABEL, UNKNOWN_LABEL, OUT_OF_RANGE = "missing_label", "unknown_label", "label_out_of_range"
MISSING_GROUP, BAD_JSON = "missing_group", "bad_json"
CLASS_WORD = "label"

_MANY_CLASSES, _WIDE_GAP = 1000, 10
_LONGEST_NAME = 1024
_LONGEST_JSON = 1 << 26
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_HUGE = 1 << 62


@dataclass
class Values:
    """Distinct values and their codes, in the order in which they were first met."""

    codes: dict[int | str, int] = field(default_factory=dict)

    def code(self, value: int | str) -> int:
        """The code of a value; a new one if it is new."""
        return self.codes.setdefault(value, len(self.codes))

    def known(self) -> list[int | str]:
        """The values by code."""
        return list(self.codes)


def parse_text(raw: bytes) -> int | str | None:
    r"""The value of a `.cls` member: an integer or a name; None for one that is neither.

    >>> parse_text(b" 7\n"), parse_text(b"white stork"), parse_text(b"\xff"), parse_text(b" ")
    (7, 'white stork', None, '')
    """
    if len(raw) > _LONGEST_NAME:
        return None
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return None
    if _INTEGER.fullmatch(text):
        # Python refuses to read integers of thousands of digits; none of these is a class id.
        return int(text) if len(text) < 19 else -_HUGE if text[0] == "-" else _HUGE
    return None if "\0" in text else text


def parse_value(value: Any) -> int | str | None:
    """The value of a JSON field: an integer (3.0 counts) or a name; None for anything else.

    >>> parse_value(3.0), parse_value("cat"), parse_value(2.5), parse_value(True), parse_value(float("nan"))
    (3, 'cat', None, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _HUGE else None
    if isinstance(value, int):
        return max(-_HUGE, min(_HUGE, value))
    if isinstance(value, str) and len(value) <= _LONGEST_NAME:
        text = value.strip()
        # Lone surrogates cannot be written as UTF-8, so no table could hold the name.
        return text if text.encode("utf-8", "replace").decode() == text and "\0" not in text else None
    return None


def read_cls(
    buffer: Buffer, begin: NDArray[np.int64], size: NDArray[np.int64], values: Values
) -> NDArray[np.int32]:
    """(S,) codes of the `.cls` members at byte spans; -1 begins where there is none."""
    seen: dict[bytes, int] = {}
    codes = []
    for first, length in zip(begin.tolist(), size.tolist(), strict=True):
        raw = b"" if first < 0 else buffer[first : first + min(length, _LONGEST_NAME + 1)]
        code = seen.get(raw)
        if code is None:
            value = parse_text(raw)
            code = NO_LABEL_KIND if value is None else ABSENT if value == "" else values.code(value)
            seen[raw] = code
        codes.append(code)
    return np.array(codes, np.int32)


def read_json(
    buffer: Buffer,
    begin: NDArray[np.int64],
    size: NDArray[np.int64],
    fields: Sequence[str],
    values: Sequence[Values],
) -> NDArray[np.int32]:
    """(F, S) codes of F fields of the `.json` members at byte spans.

    Args:
        buffer: the shard.
        begin: (S,) first byte of each member, -1 where there is none.
        size: (S,) lengths.
        fields: dotted paths into the objects.
        values: where the values of each field are numbered.
    """
    paths = [name.split(".") for name in fields]
    codes = np.full((len(fields), len(begin)), ABSENT, np.int32)
    for row, (first, length) in enumerate(zip(begin.tolist(), size.tolist(), strict=True)):
        if first < 0:
            continue
        try:
            if length > _LONGEST_JSON:
                raise ValueError
            content = json.loads(buffer[first : first + length])
        except (ValueError, RecursionError):
            codes[:, row] = UNREADABLE
            continue
        for number, (name, path) in enumerate(zip(fields, paths, strict=True)):
            codes[number, row] = _code(_look_up(content, name, path), values[number])
    return codes


def _look_up(content: Any, name: str, path: list[str]) -> Any:
    if not isinstance(content, dict):
        return None
    if name in content:
        return content[name]
    for part in path:
        if not isinstance(content, dict):
            return None
        content = content.get(part)
    return content


def _code(found: Any, values: Values) -> int:
    if found is None:
        return ABSENT
    value = parse_value(found)
    return NO_LABEL_KIND if value is None else ABSENT if value == "" else values.code(value)


def resolve_classes(
    codes: NDArray[np.int32], values: Values, classes: Sequence[str] | None
) -> tuple[NDArray[np.int32], NDArray[np.object_], list[str]]:
    """Settle what labels mean.

    With names given, integers are ids and strings are names. Without, the majority decides: if at least
    half of the labels are integers they are ids, else the names are the sorted distinct strings.

    Args:
        codes: (N,) codes of labels.
        values: their values.
        classes: names by id, or None.

    Returns:
        (N,) class ids, -1 where unknown; (N,) statuses; names by id.

    >>> values = Values({"stork": 0, "crane": 1})
    >>> resolve_classes(np.array([0, 1, 0, -1], np.int32), values, None)[0].tolist()
    [1, 0, 1, -1]
    """
    known = values.known()
    is_integer = np.array([isinstance(value, int) for value in known], bool)
    labelled = codes[codes >= 0]
    ids_win = 2 * int(is_integer[labelled].sum()) >= len(labelled) if len(labelled) else False
    if classes is not None:
        names = list(classes)
        most = len(names)
    elif ids_win:
        most = max(MOST_CLASSES, len(codes))
        names = []
    else:
        names = sorted(value for value in known if isinstance(value, str))
        most = 0
    ids = {name: number for number, name in enumerate(names)}
    # The last three entries are what the negative codes stand for, so that one lookup serves all.
    labels, statuses = [], []
    for value in known:
        if isinstance(value, int):
            refused = UNKNOWN_LABEL if classes is None and not ids_win else OUT_OF_RANGE
            fits = 0 <= value < most and refused == OUT_OF_RANGE
            labels.append(value if fits else -1)
            statuses.append(OK if fits else refused)
        else:
            labels.append(ids.get(value, -1))
            statuses.append(OK if value in ids else UNKNOWN_LABEL)
    label = np.array([*labels, -1, -1, -1], np.int32)[codes]
    status = np.array([*statuses, UNKNOWN_LABEL, BAD_JSON, MISSING_LABEL], object)[codes]
    if classes is None and ids_win:
        names = [str(number) for number in range(int(label.max(initial=-1)) + 1)]
    return label, status, names


def stray_id(label: NDArray[np.int32], keys: Sequence[str]) -> str:
    """What to say if one high class id makes far more classes than occur.

    Args:
        label: (N,) class ids that no names are known for, -1 where unknown.
        keys: (N,) sample keys.

    Returns:
        A sentence with the key of the highest id, or nothing unless there are more than 1000 classes and
        more than ten times as many as ids.

    >>> stray_id(np.array([0, 1, 50_000]), ["a", "b", "c"])  # doctest: +ELLIPSIS
    'the class id 50000 of key c makes 50001 classes, of which 3 occur; ...--classes'
    >>> stray_id(np.array([0, 999]), ["a", "b"]), stray_id(np.arange(2000), ["a"] * 2000)
    ('', '')
    """
    highest = int(label.max(initial=-1))
    occurring = len(np.unique(label[label >= 0]))
    if highest + 1 <= max(_MANY_CLASSES, _WIDE_GAP * occurring):
        return ""
    return (
        f"the class id {highest} of key {keys[int(np.argmax(label))]} makes {highest + 1} classes, of which "
        f"{occurring} occur; if it is wrong, name all classes with --classes"
    )


def resolve_groups(
    parts: Sequence[tuple[NDArray[np.int32], Sequence[int | str]]],
) -> tuple[NDArray[np.int32], list[str]]:
    """Cross one or more fields into groups.

    Args:
        parts: for every field (N,) codes, negative where the value is missing, and the values by code.

    Returns:
        (N,) group ids, -1 where any value is missing; names by id, sorted, integers by size.

    >>> resolve_groups([(np.array([0, 1, 1, -1]), ["water", "land"]), (np.array([0, 0, 1, 0]), [10, 9])])
    (array([ 2,  1,  0, -1], dtype=int32), ['land,9', 'land,10', 'water,10'])
    """
    count = len(parts[0][0])
    whole, rank = np.ones(count, bool), np.zeros(count, np.int64)
    orders = []
    for codes, values in parts:
        keys = [_sort_key(value) for value in values]
        order = sorted(range(len(values)), key=keys.__getitem__)
        place = np.empty(len(values) + 1, np.int64)
        place[order], place[-1] = np.arange(len(values)), 0
        whole &= codes >= 0
        rank = rank * max(len(values), 1) + place[np.maximum(codes, -1)]
        orders.append([str(values[code]) for code in order])
    found, inverse = np.unique(rank[whole], return_inverse=True)
    group = np.full(count, -1, np.int32)
    group[whole] = inverse
    return group, [_group_name(number, orders) for number in found.tolist()]


def _group_name(number: int, orders: Sequence[list[str]]) -> str:
    names = []
    for order in reversed(orders):
        number, place = divmod(number, max(len(order), 1))
        names.append(order[place])
    return ",".join(reversed(names))


def _sort_key(value: int | str) -> tuple[bool, int, str]:
    return (False, value, "") if isinstance(value, int) else (True, 0, value)


def code_names(names: Iterable[str | None], values: Values) -> NDArray[np.int32]:
    """(N,) codes of names that are known already, such as class folders; None is missing."""
    return np.array([ABSENT if name is None else values.code(name) for name in names], np.int32)
