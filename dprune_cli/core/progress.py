"""How stages say what they are doing without printing: the command line listens, libraries may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# Told what is done and the total, in samples or bytes; the last time both are equal.
Advance = Callable[[int, int], None]

BYTES = "bytes"
EPOCHS = "epochs"
FILES = "files"
SAMPLES = "samples"


def ignore(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""


def one(item: Any) -> int:
    """Everything counts once."""
    return 1


class Progress(Protocol):
    """Listener of a stage."""

    def note(self, line: str) -> None:
        """Something worth knowing."""

    def warn(self, line: str) -> None:
        """Something the user should look at."""

    def track(
        self,
        items: Iterable[T],
        total: int,
        what: str,
        *,
        unit: str = SAMPLES,
        size: Callable[[T], int] = one,
        done: int = 0,
    ) -> Iterator[T]:
        """`items`, counted towards `total` as they pass.

        Args:
            items: what the work is done on, one after another.
            total: what is counted in the end.
            what: the work, in a word or two.
            unit: what is counted, in the plural.
            size: how much of it an item is.
            done: what was counted before the first item.
        """

    def count(self, what: str, unit: str = SAMPLES) -> Advance:
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

    def track(self, items: Iterable[T], total: int, what: str, **how: Any) -> Iterator[T]:
        """Pass through."""
        return iter(items)

    def count(self, what: str, unit: str = SAMPLES) -> Advance:
        """Ignore."""
        return ignore
