"""What has to be taken away if the process ends before it is done: unfinished outputs, temporary folders.

A list of the whole process, as `atexit` keeps one, because that is what ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_UNFINISHED: list[Callable[[], None]] = []


@contextmanager
def unfinished(remove: Callable[[], None]) -> Iterator[None]:
    """Call `remove` if the block ends with an error, or if the process ends within it by a signal.

    Args:
        remove: does nothing if there is nothing left to remove; may be called twice, and from a thread.
    """
    _UNFINISHED.append(remove)
    try:
        yield
    except BaseException:
        remove()
        raise
    finally:
        _UNFINISHED.remove(remove)


def remove_unfinished() -> None:
    """Remove what all the blocks that are open now would leave, the innermost first."""
    for remove in reversed(_UNFINISHED.copy()):
        try:
            remove()
        except OSError:
            # The rest should go all the same; the next command clears what stays.
            continue
