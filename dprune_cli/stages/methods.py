"""`dprune methods`: what every registered method says about itself."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

from dprune_cli.core.errors import UsageError
from dprune_cli.core.registry import Registry
from dprune_cli.pickers.base import PICKERS
from dprune_cli.quotas.base import QUOTAS
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.scores.base import SCORES, Score
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, Phase
from dprune_cli.weighters.base import WEIGHTERS

KINDS: dict[str, Registry[Any]] = {
    "score": SCORES,
    "quota": QUOTAS,
    "picker": PICKERS,
    "sampler": SAMPLERS,
    "weighter": WEIGHTERS,
}
_EPOCHS = 100


def describe_methods(kind: str | None = None) -> list[dict[str, Any]]:
    """One dictionary a method; `UsageError` for an unknown kind."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no kind of method called {kind!r}; kinds are {', '.join(KINDS)}")
    kinds = [kind] if kind else list(KINDS)
    return [_describe(kind, KINDS[kind].get(name)) for kind in kinds for name in KINDS[kind].names()]


def _describe(kind: str, cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    parameters = [_parameter(item, hints[item.name]) for item in dataclasses.fields(cls) if item.init]
    found = {
        "kind": kind,
        **dataclasses.asdict(cls.info),
        "formula": (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "),
        "parameters": ", ".join(parameters),
    }
    if issubclass(cls, Score):
        found |= _cost(cls())
    elif hasattr(cls, "needs"):
        found["needs"] = cls.needs
    return found


def _parameter(item: dataclasses.Field[Any], hint: Any) -> str:
    """`name=default`, with the choices where there are few."""
    default = "..." if item.default is dataclasses.MISSING else item.default
    options = [hint, *typing.get_args(hint)]
    choices = [typing.get_args(one) for one in options if typing.get_origin(one) is typing.Literal]
    return f"{item.name}={default}" + (f" ({', '.join(map(str, choices[0]))})" if choices else "")


def _cost(score: Score) -> dict[str, str]:
    """Needs and cost of a score, read off what it watches and trains in a schedule of 100 epochs."""
    watched, sequel = score.recorders(_EPOCHS).values(), score.sequel(_EPOCHS)
    if not watched and sequel is None:
        return {"needs": "nothing", "cost": "no training"}
    runs = score.info.runs
    ends = [max(one.epochs) if one.epochs else _EPOCHS for one in watched]
    cost = f"{runs} run{'s' if runs > 1 else ''} of {max(ends, default=0)} epochs in a schedule of {_EPOCHS}"
    if sequel is not None:
        cost = f"{sequel.epochs} epochs after {sequel.start} of the query model's in a schedule of {_EPOCHS}"
    needs = sorted({need for one in watched for need in _needs(one)})
    return {"needs": ", ".join(needs) or "training of its own", "cost": cost}


def _needs(recorder: Recorder) -> Iterator[str]:
    """What a recorder watches, in words."""
    if recorder.phase is Phase.VALIDATION:
        yield "validation data (--val)"
    elif recorder.phase is Phase.TRAIN:
        yield "training visits"
    elif Field.GRAD_NORM in recorder.fields:
        yield "gradients"
    else:
        yield "clean passes"
    if Field.EMBEDDING in recorder.fields:
        yield "embeddings"
