"""What `dprune prune --method NAME` stands for: which scores, which quotas, which samples within them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from dprune_cli.core.errors import UsageError
from dprune_cli.core.registry import split_parameters
from dprune_cli.pickers.base import PICKERS
from dprune_cli.quotas.base import QUOTAS, QuotaRule
from dprune_cli.scores.base import SCORES
from dprune_cli.stages.select import RANDOM

CCS = "ccs"
# The column that every query model gives.
LOSS = "loss"


@dataclass(frozen=True, kw_only=True)
class PruneMethod:
    """How samples are chosen.

    Attributes:
        text: as typed.
        scores: `-m` of `dprune score`; empty where the query model's recalls are enough.
        quota: `--method` of `dprune quota`, with parameters for validation data that may have few samples
            of a class; None where all samples are ranked together.
        by, pick: `--by` and `--pick` of `dprune select`.
    """

    text: str
    scores: tuple[str, ...] = ()
    quota: str | None = None
    by: str = RANDOM
    pick: str | None = None

    @property
    def rule(self) -> QuotaRule | None:
        """The quota rule."""
        return None if self.quota is None else QUOTAS.make(self.quota)


def method_names() -> list[str]:
    """What `--method` takes: quota methods, scores, and `ccs`; nothing is imported for it."""
    return [*QUOTAS.names(), *SCORES.names(), CCS]


def parse_method(text: str) -> PruneMethod:
    """What `NAME[:param=value,...]` stands for.

    - A quota method, such as `drop`: its quotas, and within them samples at random, or the best by a score
      with `drop:score=tdds`. What is not given is what suits validation data with few samples.
    - A score, such as `el2n`: the best of all samples, as its paper has it.
    - `ccs`: stratified by AUM, or by another score with `ccs:score=el2n`; it takes the parameters of the
      picker `stratified`.

    Raises:
        UsageError: there is no such method, or it needs what `prune` does not make.

    >>> parse_method("drop:score=tdds,smoothing=2").quota, parse_method("el2n").by
    ('drop:smoothing=2,missing_class=mean', 'el2n')
    """
    name, _, rest = text.partition(":")
    if name in SCORES.names():
        SCORES.make(text)
        return PruneMethod(text=text, scores=(text,), by=name)
    given = split_parameters(rest)
    if name == CCS:
        by = given.pop("score", "aum")
        if by == RANDOM:
            raise UsageError(f"{text}: strata are of a score, and random is none; try ccs:score=aum")
        pick = _spec("stratified", given)
        picker = PICKERS.make(pick)
        cutoff = picker.leave_out()
        scores = _scores(text, by, *(() if cutoff is None else (cutoff.by,)))
        return PruneMethod(text=text, scores=scores, by=by, pick=pick)
    if name not in QUOTAS.names():
        near = get_close_matches(name, method_names(), n=2) or ["drop", "el2n", CCS]
        raise UsageError(f"there is no way to prune called {name!r}; try {', '.join(near)}")
    chosen = given.pop("score", RANDOM)
    rule = QUOTAS.make(_spec(name, given))
    return PruneMethod(
        text=text,
        scores=_scores(text, chosen, *rule.columns()),
        quota=_spec(name, {**rule.few_samples, **given}),
        by=chosen,
    )


def _spec(name: str, given: Mapping[str, str]) -> str:
    return name + (":" if given else "") + ",".join(f"{key}={value}" for key, value in given.items())


def _scores(text: str, *columns: str) -> tuple[str, ...]:
    """The scores among columns that are needed, each once; `UsageError` for a column that is none."""
    for column in columns:
        if column not in (*SCORES.names(), LOSS, RANDOM):
            raise UsageError(
                f"{text} goes by {column!r}, which is no score; `dprune methods score` lists them"
            )
    return tuple(dict.fromkeys(one for one in columns if one not in (LOSS, RANDOM)))
