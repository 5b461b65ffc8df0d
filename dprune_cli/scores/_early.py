"""Which epoch counts as early in training, for the scores that look at a model while it still learns."""

from __future__ import annotations

import math

from dprune_cli.core.errors import UsageError


def early_epoch(score: str, asked: int | None, epochs: int) -> int:
    """The epoch after which `score` looks: 10 % of the schedule, at least 10 epochs, at most the whole run.

    Args:
        score: its name, for messages.
        asked: the user's own choice; None for the default.
        epochs: E, the length of the schedule.

    Raises:
        UsageError: the user's choice lies outside the schedule.

    >>> early_epoch("el2n", None, 205), early_epoch("el2n", None, 30), early_epoch("el2n", 3, 30)
    (21, 10, 3)
    """
    epoch = min(epochs, max(10, math.ceil(epochs / 10))) if asked is None else asked
    if not 1 <= epoch <= epochs:
        raise UsageError(f"{score}:epoch={epoch} lies outside the schedule of {epochs} epochs")
    return epoch
