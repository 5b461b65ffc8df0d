"""What the table of a run says about its `visits`, `loss` and `mean_loss`, so that `select` goes by them."""

from __future__ import annotations

from typing import Any

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.registry import parameters
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.observe import Phase


def describe_visits(spec: str | None, keep: str | None, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """The entries of the three columns in `TableMeta.scores`.

    `visits` is the sampler's own column: its high end is kept first. No end of it is hard, because what
    is visited often need not be: some samplers do not look at losses, and those that do also balance
    classes or explore. Without a sampler it only says what was trained on, so no end goes first.

    The high end of `loss` and `mean_loss` is both hard and kept first. Losses fall while a model learns,
    so a sample visited only early has a larger mean than one that is as hard and was visited throughout.

    Args:
        spec: `--sampler` as typed, None without.
        keep: `--keep` as typed.
        config: how it was trained, with the name of the model.
    """
    given = {"sampler": spec, "keep": keep}
    common: dict[str, Any] = {
        "runs": 1,
        "seeds": [config.seed],
        "watches": [Phase.TRAIN.value],
        "model": config.model,
        "epochs": config.epochs,
        **{name: value for name, value in given.items() if value is not None},
    }
    large: dict[str, Any] = {"parameters": {}, "keep_first": "high", "hard_end": "high", **common}
    return {
        "visits": {**_choice(spec), "hard_end": None, **common},
        "loss": {"method": "loss", "paper": "none: cross-entropy at the last visit", **large},
        "mean_loss": {"method": "mean_loss", "paper": "none: mean cross-entropy over visits", **large},
    }


def _choice(spec: str | None) -> dict[str, Any]:
    """Who chose what was visited."""
    if spec is None:
        return {"method": "visits", "parameters": {}, "paper": "none: a count", "keep_first": None}
    sampler = SAMPLERS.make(spec)
    return {
        "method": sampler.info.name,
        "parameters": parameters(sampler),
        "paper": sampler.info.paper,
        "keep_first": "high",
    }
