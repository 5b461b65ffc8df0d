"""k-center greedy, the core-set approach.

Sener, Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
algorithm 1, https://arxiv.org/abs/1708.00489
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._greedy import (
    GreedyScore,
    mean_of,
    squared_distances,
    squared_norms,
)
from dprune_cli.scores.base import register

# Candidates of a round: their distances to each other cost less than one pass over many points.
_CANDIDATES = 512


def order_centres(features: Tensor, picks: int) -> Tensor:
    """(n,) the points in order: picks farthest first, then the rest, farthest from the picks first.

    A distance to the nearest pick only ever falls. So among the points that are now farthest, picks can
    go on without looking at the others as long as the best is farther than any of those was; then all
    others see these picks at once, in one matrix product. The picks are those of the plain algorithm.

    Takes O(n D) time a pick and O(n) memory beside the features.

    >>> order_centres(torch.tensor([[0.0], [10.0], [4.0], [4.0], [7.0]]), 3).tolist()  # the mean is 5
    [2, 1, 0, 4, 3]
    """
    norms = squared_norms(features)
    near = torch.empty_like(norms)
    for part, found in squared_distances(features, norms, mean_of(features)[None]):
        near[part] = found[:, 0]
    rows = torch.arange(len(norms), device=norms.device)
    new = near.argmin(0, keepdim=True)
    near.fill_(float("inf"))
    order: list[Tensor] = []
    while True:
        order.append(rows[new])
        left = torch.ones_like(rows, dtype=torch.bool).index_fill_(0, new, False)
        rows, norms, near = rows[left], norms[left], near[left]
        for part, found in squared_distances(features, norms, features[order[-1]].double(), rows):
            torch.minimum(near[part], found.amin(1), out=near[part])
        picks -= len(new)
        # Where all that is left equals a pick, it goes by the order of the points.
        if picks <= 0 or not bool((near > 0).any()):
            return torch.cat([*order, rows[near.argsort(descending=True, stable=True)]])
        new = _next_centres(features, rows, norms, near, picks)


def _next_centres(features: Tensor, rows: Tensor, norms: Tensor, near: Tensor, most: int) -> Tensor:
    """The next picks, as many as the farthest points alone decide: at least 1, at most `most`.

    Args:
        features: (N, D).
        rows: (n,) which of them are left.
        norms: (n,) their squared norms.
        near: (n,) their squared distances to the nearest pick.
        most: as many as are wanted.

    Returns:
        Where they stand among the n.
    """
    bound = near.topk(min(_CANDIDATES + 1, len(near))).values[-1]
    candidates = torch.nonzero(near > bound).squeeze(1)
    if len(candidates) == 0:
        candidates = near.argmax(0, keepdim=True)
    few = features[rows[candidates]]
    blocks = squared_distances(few, norms[candidates], few.double())
    between = torch.cat([found for _, found in blocks]).cpu().numpy()
    left, floor = near[candidates].cpu().numpy(), float(bound)
    picked: list[int] = []
    while len(picked) < min(most, len(left)):
        best = int(left.argmax())
        if picked and left[best] <= floor:
            break
        picked.append(best)
        np.minimum(left, between[best], out=left)
        left[best] = -1.0
    return candidates[torch.tensor(picked, device=candidates.device)]


@register
@dataclass(frozen=True, kw_only=True)
class KCenter(GreedyScore):
    """Place in the farthest-first order: x_{t+1} = argmax_x min_{s picked} || h(x) - h(s) ||_2, 1 ... n.

    Watches the embeddings of the clean pass after the last epoch; x_1 is the sample nearest to their mean.
    Exact copies of a pick come last. With `picks` fewer than all (10%, 5000), the ranks after them go by
    distance to the nearest pick, farthest first. `per_class=true` picks within every class and merges the
    orders so that every class has its proportional share at every budget.
    Departs from the paper: the paper starts from samples that are labelled already.
    """

    info = ScoreInfo(
        name="k_center",
        title="k-center greedy (core-set)",
        paper="https://arxiv.org/abs/1708.00489",
        keep_first="low",
        hard_end=None,
    )

    def order(self, features: Tensor, picks: int) -> Tensor:
        """See `GreedyScore.order`."""
        return order_centres(features, picks)
