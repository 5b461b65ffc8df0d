"""Several outputs of one command: all of them appear, or none; what was killed can be finished.

They are built one after another and put into their places together in the end. No file system does that in
one step; so before the first is put there every one of them is given a mark, `.NAME.unfinished` beside it,
and after the last the marks go. What has a mark belongs to a command that was killed in between, and may be
replaced. All marks are links to the first, so that they lose their meaning in one step too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

from dprune_cli.core.errors import BadSamplesError, ClosedPipe, DpruneError

_current: ContextVar[_Group | None] = ContextVar("outputs of the command", default=None)


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """What is written in this block appears at its end, unless it is wanted at once.

    That holds for all outputs of `outputs.whole_file` and `whole_folder`, but not for files in such a folder.
    """
    group = _Group()
    token = _current.set(group)
    try:
        # Holds locks, and removes what was built if the block fails.
        with group.held:
            try:
                yield
            except (BadSamplesError, ClosedPipe):
                group.put_all()
                raise
            group.put_all()
    except DpruneError as error:
        # It will fail again. What it finished is all there will be, and is no longer to be replaced.
        if type(error) is not DpruneError:
            group.unmark()
        raise
    finally:
        _current.reset(token)


def put_in_place(held: ExitStack, target: Path | None, put: Callable[[], object], *, at_once: bool) -> None:
    """Put a finished output into its place, or see to it that it is when the command has all of them.

    Args:
        held: what holds its lock, and removes it if it is never put there.
        target: its place; None if it is not on this machine.
        put: puts it there.
        at_once: it must not wait for the others.
    """
    group = _current.get()
    if group is None:
        _put_alone(target, put)
    elif at_once:
        group.mark(target)
        put()
    else:
        group.add(held.pop_all(), target, put)


@contextmanager
def alone() -> Iterator[None]:
    """What is written in this block waits for nothing: it is part of an output."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def make_way(target: Path | None) -> None:
    """Before something is written into a folder that waits for its place: put that there."""
    group = _current.get()
    if group is not None and target is not None and group.has_folder_of(target):
        group.put_waiting(more=True)


def is_unfinished(target: Path) -> bool:
    """Whether what is at a place was put there by a command that did not come to its end."""
    mark = _mark_of(target)
    if mark.exists():
        return True
    if mark.is_symlink():
        mark.unlink(missing_ok=True)  # its command was killed after the last step
    return False


def _mark_of(target: Path) -> Path:
    real = Path(os.path.realpath(target))
    return real.parent / f".{real.name}.unfinished"


def _put_alone(target: Path | None, put: Callable[[], object]) -> None:
    """Put the only output of a command into its place, which ends what a killed command left there."""
    put()
    if target is not None:
        _mark_of(target).unlink(missing_ok=True)


class _Group:
    """The finished outputs of a command that wait for the others."""

    def __init__(self) -> None:
        self.held = ExitStack()
        self._waiting: list[tuple[Path | None, Callable[[], object]]] = []
        self._marks: list[Path] = []

    def add(self, held: ExitStack, target: Path | None, put: Callable[[], object]) -> None:
        self.held.enter_context(held)
        self._waiting.append((target, put))

    def mark(self, target: Path | None) -> None:
        if target is not None:
            mark = _mark_of(target)
            fresh = mark.with_name(f"{mark.name}.part")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._marks[0]) if self._marks else fresh.touch()
            os.replace(fresh, mark)
            self._marks.append(mark)

    def has_folder_of(self, target: Path) -> bool:
        return any(folder is not None and target.is_relative_to(folder) for folder, _ in self._waiting)

    def put_waiting(self, *, more: bool) -> None:
        """Put what waits into place; `more` is to come."""
        if more or len(self._waiting) + len(self._marks) > 1:
            for target, _ in self._waiting:
                self.mark(target)
            for _, put in self._waiting:
                put()
        else:
            for target, put in self._waiting:
                _put_alone(target, put)
        self._waiting.clear()
        self.held.close()

    def put_all(self) -> None:
        self.put_waiting(more=False)
        self.unmark()

    def unmark(self) -> None:
        for mark in self._marks:
            mark.unlink(missing_ok=True)
        self._marks.clear()
