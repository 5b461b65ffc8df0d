"""What scores over windows of epochs share: the check that the schedule is long enough for one."""

from __future__ import annotations

from dprune_cli.core.errors import UsageError


def check_window(score: str, window: int, epochs: int, least: int, why: str) -> None:
    """Refuse a window that means nothing, or that the schedule is too short for.

    Args:
        score: its name, for messages.
        window: epochs of a window.
        epochs: E, the length of the schedule.
        least: epochs that a window needs.
        why: what a shorter one lacks, after "is too short for".

    Raises:
        UsageError: the window is shorter than `least`, or longer than the schedule.
    """
    if window < least:
        raise UsageError(f"{score}:window={window} is too short for {why}; give {least} or more")
    if epochs < window:
        shorter = f" or give -m {score}:window={epochs}" if epochs >= least else ""
        raise UsageError(
            f"{score} needs windows of {window} epochs, this run has {epochs}; train longer{shorter}"
        )
