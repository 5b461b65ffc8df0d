"""Outputs in a storage, which has no renaming: built on this machine and uploaded when they are whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dprune_cli.core.errors import UsageError
from dprune_cli.io.remote import RemotePath, check_writable, find_info, list_below, mark, remove, upload
from dprune_cli.io.remote_retry import in_flight

# Stands in a folder while it is uploaded; readers refuse such a folder and writers replace it.
UNFINISHED = ".dprune-unfinished"
# What makes a folder a data set or a run; it comes last.
_LAST = ("index.json", "config.json")
_AT_ONCE = 8


def check_remote_output(path: RemotePath, *, force: bool, folder: bool) -> None:
    """Refuse an output that is there already; see `outputs.check_output`.

    Raises:
        UsageError: something is there, or the storage can only be read.
        DpruneError: the storage does not say.
    """
    check_writable(path)
    if path.parent == path:
        raise UsageError(f"{path}: is a whole storage; name a place in it")
    if not folder:
        info = find_info(path, path.cannot_write)
        if info is not None and info.folder:
            raise UsageError(f"{path} is a folder; name a file")
        if info is not None and not force:
            raise UsageError(f"{path} exists already; give --force to replace it")
        return
    found = list_below(path, path.cannot_write)
    if "" in found:
        raise UsageError(f"{path} is a file; name a folder")
    if found and not force and UNFINISHED not in found:
        raise UsageError(f"{path} exists already; give --force to replace it")


def is_remote_taken(path: RemotePath) -> bool:
    """Whether there is anything below a URL but an output that was never finished."""
    found = list_below(path, path.cannot_write)
    return bool(found) and UNFINISHED not in found


def upload_folder(source: Path, path: RemotePath) -> None:
    """Make all files below a folder objects below a URL, in place of what is there.

    A mark stands there until all is done, so that an upload that was interrupted is known as such.

    Args:
        source: the folder.
        path: the URL.

    Raises:
        DpruneError: it cannot be written.
    """
    files = {
        file.relative_to(source).as_posix(): file for file in sorted(source.rglob("*")) if file.is_file()
    }
    old = [name for name in list_below(path, path.cannot_write) if name not in files and name != UNFINISHED]
    mark(path / UNFINISHED)
    _do_all([partial(remove, path / name) for name in old])
    _do_all([partial(upload, files[name], path / name) for name in files if name not in _LAST])
    _do_all([partial(upload, files[name], path / name) for name in files if name in _LAST])
    remove(path / UNFINISHED)


def _do_all(requests: list[partial[None]]) -> None:
    for _ in in_flight(requests, _AT_ONCE):
        pass
