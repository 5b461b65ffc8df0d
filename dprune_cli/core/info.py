"""What every registered method says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

End = Literal["high", "low", "middle"]


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """Identity of a method: the word users type, what it is, and where it was published."""

    name: str
    title: str
    paper: str


@dataclass(frozen=True, kw_only=True)
class ScoreInfo(MethodInfo):
    """A score's identity and its two orientations.

    `keep_first` is the end that the paper keeps; `hard_end` is the end that means difficult. They are
    separate facts: AUM keeps its high end (clean samples) although its low end is the hard one.
    """

    keep_first: End
    hard_end: End | None
    runs: int = 1
