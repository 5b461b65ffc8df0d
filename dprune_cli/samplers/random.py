"""Random: one random subset for the whole run, the control that every dynamic method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dprune_cli.core.info import MethodInfo
from dprune_cli.io.keys import draw_seed, hash_keys
from dprune_cli.metrics.ranking import first_hashes
from dprune_cli.samplers.base import EpochSampler, register
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import BatchObs, RunInfo


@register
@dataclass(kw_only=True)
class Random(EpochSampler):
    """The `B` samples with the smallest seeded key hashes, the same in every epoch.

    They are those of `select --by random` with the same seed and budget.
    """

    info = MethodInfo(name="random", title="A fixed random subset", paper="none: a control")

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """The subset."""
        keys = [run.keys[row] for row in self.rows]
        hashes = hash_keys(keys, draw_seed(run.seed, hash_keys(keys)))
        chosen = first_hashes(np.arange(len(keys)), int(self.sizes[0]), hashes.__getitem__)
        return {"rows": torch.from_numpy(self.rows[chosen])}

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """The subset again."""
        return EpochPlan(self.state["rows"].numpy())

    def update(self, obs: BatchObs) -> None:
        """Nothing to look at."""
