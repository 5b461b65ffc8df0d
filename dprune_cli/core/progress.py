"""How stages say what they are doing without printing: the command line listens, libraries may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Listener of a stage."""

    def note(self, line: str) -> None:
        """Something worth knowing."""

    def warn(self, line: str) -> None:
        """Something the user should look at."""

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """`items`, counted towards `total` as they pass."""

    def count(self, what: str) -> Callable[[int, int], None]:
        """A function to be called with what is done and the total, the last time with both equal."""


class Silent:
    """Nobody listens; warnings are collected for whoever asks."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def note(self, line: str) -> None:
        """Ignore."""

    def warn(self, line: str) -> None:
        """Remember."""
        self.warnings.append(line)

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """Pass through."""
        return iter(items)

    def count(self, what: str) -> Callable[[int, int], None]:
        """Ignore."""
        return lambda done, total: None
