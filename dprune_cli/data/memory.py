"""Amounts of memory: as people write them, and how much a cache may take by default."""

from __future__ import annotations

import os
import re

from dprune_cli.core.errors import UsageError

_UNITS = {"": 1, **{f"{p}b": 1000**i for i, p in enumerate(("", "k", "m", "g", "t"))}}
_UNITS |= {f"{p}ib": 1024**i for i, p in enumerate(("k", "m", "g", "t"), 1)}


def parse_memory(text: str, option: str) -> int:
    """Bytes from `2GB` (powers of 1000), `1.5GiB` (powers of 1024) or a plain number of bytes.

    >>> [parse_memory(text, "--cache-memory") for text in ("500MB", "1.5 GiB", "0")]
    [500000000, 1610612736, 0]
    """
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"{option} {text}: write an amount of memory such as 2GB, 500MB, 1.5GiB or 0")
    return int(float(match[1]) * _UNITS[match[2]])


def write_memory(amount: int) -> str:
    """Bytes as people write them.

    >>> write_memory(1_540_000_000), write_memory(999), write_memory(0)
    ('1.5 GB', '999 B', '0 B')
    """
    for power, unit in reversed(list(enumerate(("kB", "MB", "GB", "TB"), 1))):
        if amount >= 1000**power:
            return f"{amount / 1000**power:.1f} {unit}"
    return f"{amount} B"


def host_memory() -> int:
    """Bytes of RAM in this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
