"""`dprune train --sampler`: from what was asked for to a sampler and its budget, and what it saved."""

from __future__ import annotations

import statistics
from typing import Any

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import UsageError
from dprune_cli.samplers.base import SAMPLERS, EpochSampler
from dprune_cli.train.observe import Phase


def make_sampler(
    spec: str | None, keep: str | None, *, validated: bool, stretched: bool
) -> EpochSampler | None:
    """The sampler that `--sampler` describes, None without one.

    Args:
        spec: `NAME[:param=value,...]`.
        keep: `--keep` as typed.
        validated: whether there is validation data.
        stretched: whether the schedule goes by how much an epoch visits.

    Raises:
        UsageError: no such sampler or parameter, or options that do not go together.
    """
    if keep is not None:
        parse_budget(keep)
    if spec is None:
        if keep is not None:
            raise UsageError(
                "--keep goes with --sampler; to train on a part of DATA chosen once, run `dprune select` and "
                "give --table"
            )
        return None
    sampler = SAMPLERS.make(spec)
    name = sampler.info.name
    if keep is None and sampler.needs_budget:
        raise UsageError(f"--sampler {name} goes by a budget; give --keep B, what an epoch visits")
    if keep is None and stretched:
        raise UsageError(f"--stretch goes by what an epoch visits; give --sampler {name} a budget, --keep B")
    if sampler.phase is Phase.VALIDATION and not validated:
        raise UsageError(
            f"--sampler {name} goes by recall on validation data; give --val DATA, or --from-val-features "
            "FILE with --from-features"
        )
    return sampler


def summarise_visits(history: list[dict[str, Any]], samples: int) -> dict[str, Any]:
    """What a run with a sampler visited, and what that saved.

    An epoch over all data is reckoned from the mean seconds of a visit; what is measured is spent on
    planning and training visits, without validation.

    Args:
        history: rows of `Fit.train`.
        samples: M, how many there are.

    >>> row = {"visited": 10, "plan_seconds": 0.0, "visit_seconds": 1.0}
    >>> summarise_visits([row, row], 100)["speedup"]
    10.0
    """
    visited = statistics.mean(row["visited"] for row in history)
    spent = statistics.mean(row["plan_seconds"] + row["visit_seconds"] for row in history)
    # The mean over all visits: those of a tiny epoch are mostly what an epoch costs whatever it visits.
    full = samples * statistics.mean(row["visit_seconds"] for row in history) / visited
    return {
        "visited": visited,
        "visited_fraction": visited / samples,
        "full_epoch_seconds": full,
        "epoch_seconds": spent,
        "plan_seconds": statistics.mean(row["plan_seconds"] for row in history),
        "speedup": full / spent,
    }
