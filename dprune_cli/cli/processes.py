"""One command in several processes: they meet before it and part after it, and only the first one speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dprune_cli.core import ranks
from dprune_cli.core.errors import DpruneError
from dprune_cli.core.launch import find_launch


@contextmanager
def all_processes() -> Iterator[None]:
    """A block that a launcher's processes run together; without a launcher, nothing more than the block.

    Raises:
        LostPeerError: another process failed while this one waited for it.
    """
    launch = find_launch(os.environ)
    if launch is None:
        yield
        return
    if launch.rank > 0:
        # Whatever prints: the table or the summary must not be there twice.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    ranks.meet(launch)
    try:
        yield
    except RuntimeError as error:
        if not ranks.is_lost_peer(error):
            raise
        why = str(error).splitlines()[0]
        raise LostPeerError(f"another process of this command failed or was stopped ({why})") from error
    ranks.leave()


class LostPeerError(DpruneError):
    """What this process says only if the one that failed did not say why."""
