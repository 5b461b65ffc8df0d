"""The YAML at the head of a data-set card.

Strings are written in double quotes, as JSON has them, so none is taken for a number, a truth value or a
comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What YAML cannot hold as it is, or takes for the end of a line, and JSON leaves alone.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def front_matter(values: Mapping[str, Any]) -> str:
    r"""A block of YAML between two lines of dashes.

    Args:
        values: strings, numbers, truth values, and lists and mappings of them.

    >>> print(front_matter({"license": "unknown", "names": {"0": "no: #"}, "tags": ["1e3"]}), end="")
    ---
    license: "unknown"
    names:
      "0": "no: #"
    tags:
      - "1e3"
    ---
    """
    return "".join(f"{line}\n" for line in ["---", *_mapping(values, ""), "---"])


def quoted(text: str) -> str:
    """A string that YAML and JSON read as itself, whatever is in it."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _mapping(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        name = key if key.isascii() and key.replace("_", "").isalpha() else quoted(key)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _mapping(value, indent + "  ")
        elif isinstance(value, list | tuple) and value:
            yield f"{indent}{name}:"
            yield from _list(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _list(values: Sequence[Any], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping):
            # The first line of an entry stands behind its dash.
            first, *rest = _mapping(value, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(value)}"


def _scalar(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value)
