"""Tar files for the tests of `io`, written with the standard library."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def write_tar(
    path: Path,
    files: Iterable[tuple[str, bytes]],
    tar_format: int = tarfile.USTAR_FORMAT,
    mtime: float = 0,
) -> Path:
    """A tar of regular files; a name that ends in `/` becomes a folder, `NAME -> X` a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in files:
            item = tarfile.TarInfo(name)
            item.mtime = mtime
            if name.endswith("/"):
                item.type = tarfile.DIRTYPE
            elif " -> " in name:
                item.name, item.linkname = name.split(" -> ")
                item.type = tarfile.SYMTYPE
            else:
                item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return path


def pairs(*samples: tuple[str, bytes, str]) -> list[tuple[str, bytes]]:
    """Members of samples given as (key, image, label)."""
    return [
        member
        for key, image, label in samples
        for member in ((f"{key}.jpg", image), (f"{key}.cls", label.encode()))
    ]
