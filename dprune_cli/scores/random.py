"""Random: the baseline every pruning paper is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.io.keys import draw_seed, hash_keys, uniform
from dprune_cli.scores.base import Score, register
from dprune_cli.train.observe import RunInfo


@register
@dataclass(frozen=True, kw_only=True)
class Random(Score):
    """Uniform in [0, 1), from the seeded hashes of the sample keys; needs no training.

    The low end is kept first, so that cutting by this column equals `select --by random` with the
    same seed.
    """

    info = ScoreInfo(
        name="random", title="Uniformly random", paper="none: a baseline", keep_first="low", hard_end=None
    )

    def compute(self, run: RunInfo, **recorded: Tensor) -> Tensor:
        """(N,) the hashes as numbers."""
        usable = [run.keys[row] for row in torch.nonzero(run.target >= 0).flatten().tolist()]
        seed = draw_seed(run.seed, hash_keys(usable))
        return torch.from_numpy(uniform(hash_keys(list(run.keys), seed)))
