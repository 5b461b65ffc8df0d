"""What must be run for the scores that were asked for.

The needs of a score are stated on the score (its recorders). Here they are collected: equal recorders
become one, and one training pass a run feeds every score. Run r serves the scores that average over more
than r runs, and trains only as far as one of its recorders still watches. A score that trains on (its
sequel) does so on a copy of the model, so it costs the others nothing and shares their run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.io.trajectory import BOTH, Pass
from dprune_cli.scores.base import SCORES, Score, Sequel
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, Phase


@dataclass(frozen=True)
class RunPlan:
    """One run of the query model.

    Attributes:
        number: 0 ... R - 1.
        needs: for every score it serves, the recorders by the argument name of `compute`.
        recorders: all of them, each once.
        sequels: what scores train after it, on copies of its model.
        last_epoch: how far to train; 0 where nothing is watched.
    """

    number: int
    needs: dict[Score, dict[str, Recorder]]
    recorders: tuple[Recorder, ...]
    sequels: dict[Score, Sequel]
    last_epoch: int

    @property
    def trains(self) -> bool:
        """Whether a model is needed."""
        return self.last_epoch > 0 or bool(self.sequels)

    @property
    def watches_validation(self) -> list[str]:
        """Names of the scores that look at validation data."""
        return [
            score.info.name
            for score, watched in self.needs.items()
            if any(recorder.phase is Phase.VALIDATION for recorder in watched.values())
        ]


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
    sequels = {score: sequel for score in scores if (sequel := score.sequel(epochs))}
    # A score that watches nothing is the same in every run.
    counts = {
        score: _runs(score.info, runs, at_most) if needs[score] or score in sequels else 1 for score in scores
    }
    plans = []
    for number in range(max(counts.values(), default=0)):
        served = {score: needs[score] for score in scores if counts[score] > number}
        recorders = tuple(dict.fromkeys(one for watched in served.values() for one in watched.values()))
        # Learners hold what they learn, so every run makes its own.
        own = {score: sequel for score in served if score in sequels and (sequel := score.sequel(epochs))}
        last = max(
            (
                *(_last_epoch(recorder, epochs) for recorder in recorders),
                *(sequel.start for sequel in own.values()),
            ),
            default=0,
        )
        last = epochs if whole_first and number == 0 else last
        plans.append(RunPlan(number, served, recorders, own, last))
    return plans


def _runs(info: ScoreInfo, asked: int | None, at_most: int | None) -> int:
    if asked is not None:
        return asked
    return info.runs if at_most is None else min(info.runs, at_most)


def _last_epoch(recorder: Recorder, epochs: int) -> int:
    return epochs if recorder.epochs is None else max(recorder.epochs)


@dataclass(frozen=True)
class Recording:
    """What there is to compute scores from.

    Attributes:
        name: of the files, for messages.
        epochs: E.
        runs: numbers of the runs.
        logits: passes over the training data that have logits.
        embeddings: passes that have embeddings.
        with_logits: whether there are logits beside the embeddings.
        validation: what there is of validation data; nothing without any.
    """

    name: str
    epochs: int
    runs: Sequence[int]
    logits: Collection[Pass]
    embeddings: Collection[Pass] = ()
    with_logits: bool = False
    validation: frozenset[Field] = frozenset()

    def check(self, score: str, recorder: Recorder, run: int) -> None:
        """`DataError` if it lacks what the recorder of a score watches in a run."""
        if Field.GRAD_NORM in recorder.fields:
            raise DataError(f"{score} needs gradients of the model, which no recording holds")
        if recorder.phase is Phase.VALIDATION:
            if not self.validation:
                raise DataError(f"{score} needs features of validation data; give --from-val-features FILE")
            if not recorder.fields <= self.validation:
                raise DataError(f"{score} needs logits of validation data; its features have no such column")
            return
        phase = recorder.phase.value
        for epoch in sorted(recorder.epochs or range(1, self.epochs + 1)):
            at = {Pass(run, epoch, phase), Pass(run, epoch, BOTH)}
            if Field.EMBEDDING in recorder.fields:
                self._check_features(score, recorder, epoch, at)
            elif at.isdisjoint(self.logits):
                if not self.logits and not at.isdisjoint(self.embeddings):
                    raise DataError(f"{score} needs logits, and {self.name} has no column 'logits'")
                what = "training visits" if recorder.phase is Phase.TRAIN else "a clean pass"
                raise DataError(f"{score} needs {what} of epoch {epoch}; {self.name} has none (run {run})")

    def _check_features(self, score: str, recorder: Recorder, epoch: int, at: set[Pass]) -> None:
        if not self.embeddings:
            raise DataError(
                f"{score} needs embeddings after epoch {epoch}; {self.name} has none; give --from-features"
            )
        if at.isdisjoint(self.embeddings):
            (there,) = self.embeddings
            if there.epoch == epoch:
                raise DataError(f"{score} needs embeddings of every run; features are of one, give --runs 1")
            raise DataError(
                f"{score} needs embeddings after epoch {epoch}; the features are those after {there.epoch}"
            )
        if Field.LOGITS in recorder.fields and not self.with_logits:
            # Those of the trajectory could be of another model: features may come from anywhere.
            raise DataError(f"{score} needs logits beside the embeddings; the features have no such column")


def check_recorded(plans: Iterable[RunPlan], recording: Recording) -> None:
    """`DataError` naming the first thing that a score watches and a recording lacks."""
    runs = recording.runs
    for plan in plans:
        if plan.number >= len(runs):
            raise DataError(f"{recording.name} holds fewer runs; give --runs {len(runs)}")
        for score, watched in plan.needs.items():
            if score in plan.sequels:
                raise DataError(f"{score.info.name} trains a model; it cannot be computed from a recording")
            for recorder in watched.values():
                recording.check(score.info.name, recorder, runs[plan.number])
