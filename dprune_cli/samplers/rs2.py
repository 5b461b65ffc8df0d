"""RS2, repeated sampling of random subsets.

Okanovic, Waleffe, Mageirakos, Nikolakakis, Karbasi, Kalogerias, Gürel, Rekatsinas, "Repeated Random Sampling
for Minimizing the Time-to-Accuracy of Learning", ICLR 2024, https://arxiv.org/abs/2305.18424
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dprune_cli.core.info import MethodInfo
from dprune_cli.samplers.base import EpochSampler, register
from dprune_cli.train.hooks import EpochPlan
from dprune_cli.train.observe import BatchObs, RunInfo


@register
@dataclass(kw_only=True)
class Rs2(EpochSampler):
    """A fresh random subset an epoch; without replacement, consecutive pieces of shuffled passes.

    As in the paper. Where the piece at the end of a pass is too short, it is filled from a newly shuffled
    pass with samples that are not in it already, so that no epoch visits a sample twice and every pass
    visits each once. (The authors' code goes back to the head of the old pass.)

    Attributes:
        replacement: draw every epoch's subset from all samples, whatever earlier epochs visited.
    """

    info = MethodInfo(name="rs2", title="Repeated random sampling", paper="https://arxiv.org/abs/2305.18424")
    replacement: bool = False

    def initial(self, run: RunInfo) -> dict[str, Tensor]:
        """What is left of a pass: nothing yet."""
        return {"left": torch.empty(0, dtype=torch.int64)}

    def plan(self, epoch: int, rng: np.random.Generator) -> EpochPlan:
        """The next piece, or a fresh draw."""
        size = int(self.sizes[epoch - 1])
        if self.replacement:
            return EpochPlan(rng.choice(self.rows, size, replace=False, shuffle=False))
        left = self.state["left"].numpy()
        if len(left) < size:
            fresh = rng.permutation(self.rows)
            taken = np.isin(fresh, left)
            left = np.concatenate([left, fresh[~taken], fresh[taken]])
        self.state["left"] = torch.from_numpy(left[size:].copy())
        return EpochPlan(left[:size])

    def update(self, obs: BatchObs) -> None:
        """Nothing to look at."""
