"""`dprune methods`: what every registered method says about itself."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from dprune_cli.core.errors import UsageError
from dprune_cli.core.registry import Registry
from dprune_cli.pickers.base import PICKERS
from dprune_cli.quotas.base import QUOTAS
from dprune_cli.scores.base import SCORES, Score
from dprune_cli.train.observe import Phase
from dprune_cli.weighters.base import WEIGHTERS

KINDS: dict[str, Registry[Any]] = {"score": SCORES, "quota": QUOTAS, "picker": PICKERS, "weighter": WEIGHTERS}
_EPOCHS = 100


def describe_methods(kind: str | None = None) -> list[dict[str, Any]]:
    """One dictionary a method; `UsageError` for an unknown kind."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no kind of method called {kind!r}; kinds are {', '.join(KINDS)}")
    kinds = [kind] if kind else list(KINDS)
    return [_describe(kind, KINDS[kind].get(name)) for kind in kinds for name in KINDS[kind].names()]


def _describe(kind: str, cls: Any) -> dict[str, Any]:
    parameters = [
        f"{item.name}={item.default}" if item.default is not dataclasses.MISSING else f"{item.name}=..."
        for item in dataclasses.fields(cls)
        if item.init
    ]
    found = {
        "kind": kind,
        **dataclasses.asdict(cls.info),
        "formula": (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "),
        "parameters": ", ".join(parameters),
    }
    if issubclass(cls, Score):
        found |= _cost(cls())
    return found


def _cost(score: Score) -> dict[str, str]:
    """Needs and cost of a score, read off its recorders for a schedule of 100 epochs."""
    watched = list(score.recorders(_EPOCHS).values())
    if not watched:
        return {"needs": "nothing", "cost": "no training"}
    needs = sorted({"training visits" if one.phase is Phase.TRAIN else "clean passes" for one in watched})
    last = max(max(one.epochs) if one.epochs else _EPOCHS for one in watched)
    runs = score.info.runs
    return {
        "needs": ", ".join(needs),
        "cost": f"{runs} run{'s' if runs > 1 else ''} of {last} epochs in a schedule of {_EPOCHS}",
    }
