"""Folders that several processes fill together, on a disk that all of them see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dprune_cli.core import ranks
from dprune_cli.core.errors import DpruneError
from dprune_cli.io.outputs import whole_folder
from dprune_cli.io.remote import Place


@contextmanager
def shared_folder(path: str | Place, *, force: bool = False) -> Iterator[Path]:
    """`whole_folder` for all processes: the first makes it, and it becomes `path` when all are done with it.

    Raises:
        DpruneError: this process does not see it.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(path, force=force)) if ranks.is_main() else None
        yield seen_by_all(folder)
        ranks.wait()


def seen_by_all(folder: Path | None) -> Path:
    """The folder that the first process names, in all of them; `DpruneError` where it is not there."""
    found = ranks.broadcast(folder)
    if found is None or not found.is_dir():
        raise DpruneError(
            f"{found}: process {ranks.rank()} does not see this folder; write to a disk that all share"
        )
    return found
