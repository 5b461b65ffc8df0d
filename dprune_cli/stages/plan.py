"""What must be run for the scores that were asked for.

The needs of a score are stated on the score (its recorders). Here they are collected: equal recorders
become one, and one training pass a run feeds every score. Run r serves the scores that average over more
than r runs, and trains only as far as one of its recorders still watches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.io.trajectory import BOTH, Pass
from dprune_cli.scores.base import SCORES, Score
from dprune_cli.train.hooks import Recorder


@dataclass(frozen=True)
class RunPlan:
    """One run of the query model.

    Attributes:
        number: 0 ... R - 1.
        needs: for every score it serves, the recorders by the argument name of `compute`.
        recorders: all of them, each once.
        last_epoch: how far to train; 0 where nothing is watched.
    """

    number: int
    needs: dict[Score, dict[str, Recorder]]
    recorders: tuple[Recorder, ...]
    last_epoch: int


def make_scores(specs: Sequence[str]) -> list[Score]:
    """The scores that `-m` asks for; `UsageError` if two would share a column."""
    scores = [SCORES.make(spec) for spec in specs]
    names = [score.info.name for score in scores]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is asked for twice, but a table has one column {name!r}")
    return scores


def plan_runs(
    scores: Sequence[Score],
    epochs: int,
    runs: int | None,
    *,
    whole_first: bool = False,
    at_most: int | None = None,
) -> list[RunPlan]:
    """The runs for `scores`, each with a schedule of `epochs` epochs.

    Args:
        scores: what is asked for.
        epochs: length of the schedule.
        runs: runs of every score; None for each paper's own number.
        whole_first: train run 0 to its end, because its model is wanted too.
        at_most: runs that a recording holds; caps the papers' numbers, not the user's.

    Raises:
        UsageError: a score needs a longer schedule.
    """
    unique: dict[Recorder, Recorder] = {}
    needs: dict[Score, dict[str, Recorder]] = {}
    for score in scores:
        watched = score.recorders(epochs)
        needs[score] = {name: unique.setdefault(recorder, recorder) for name, recorder in watched.items()}
    # A score that watches nothing is the same in every run.
    counts = {score: _runs(score.info, runs, at_most) if needs[score] else 1 for score in scores}
    plans = []
    for number in range(max(counts.values(), default=0)):
        served = {score: needs[score] for score in scores if counts[score] > number}
        recorders = tuple(dict.fromkeys(one for watched in served.values() for one in watched.values()))
        last = max((_last_epoch(recorder, epochs) for recorder in recorders), default=0)
        plans.append(RunPlan(number, served, recorders, epochs if whole_first and number == 0 else last))
    return plans


def _runs(info: ScoreInfo, asked: int | None, at_most: int | None) -> int:
    if asked is not None:
        return asked
    return info.runs if at_most is None else min(info.runs, at_most)


def _last_epoch(recorder: Recorder, epochs: int) -> int:
    return epochs if recorder.epochs is None else max(recorder.epochs)


def check_recorded(plans: Iterable[RunPlan], passes: Collection[Pass], epochs: int, source: str) -> None:
    """`DataError` naming the first pass that a score watches and a recording lacks."""
    have = {(one.run, one.epoch, one.phase) for one in passes}
    runs = sorted({one.run for one in passes})
    for plan in plans:
        if plan.number >= len(runs):
            raise DataError(f"{source} holds {len(runs)} runs; give --runs {len(runs)}")
        run = runs[plan.number]
        for score, watched in plan.needs.items():
            for recorder in watched.values():
                phase = recorder.phase.value
                for epoch in sorted(recorder.epochs or range(1, epochs + 1)):
                    if not have & {(run, epoch, phase), (run, epoch, BOTH)}:
                        what = "training visits" if phase == "train" else "a clean pass"
                        raise DataError(
                            f"{score.info.name} needs {what} of epoch {epoch}; {source} has none (run {run})"
                        )
