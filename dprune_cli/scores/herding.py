"""Herding.

Welling, "Herding Dynamical Weights to Learn", ICML 2009, with the features of the samples as its states,
https://doi.org/10.1145/1553374.1553517
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._greedy import GreedyScore, in_double, mean_of
from dprune_cli.scores.base import register

# Picked rows are dropped from the working copy when it has shrunk to this share: copying then costs
# about four of the products it saves many of.
_REST = 0.75


def order_herd(features: Tensor, picks: int) -> Tensor:
    """(n,) the points in order: picks that keep the mean, then the rest by how well each would keep it.

    With x' = x - mu and S the sum of the x' picked so far, || (t+1) mu - sum - x ||^2 is
    |S|^2 + 2 (|x'|^2 / 2 + x' S), so a pick takes one product of the (n, D) matrix with S. Features are
    centred first, in float64, because the rounding of a mean far from 0 would hide the differences.

    Takes O(n D) time a pick and one copy of the features.

    >>> order_herd(torch.tensor([[0.0], [10.0], [4.0], [5.0], [6.0]]), 5).tolist()  # the mean is 5
    [3, 2, 4, 0, 1]
    """
    mean, centred = mean_of(features), torch.empty_like(features)
    for part, block in in_double(features):
        centred[part] = block.sub_(mean).to(centred.dtype)
    half = torch.linalg.vector_norm(centred, dim=1).square_() / 2
    ids = torch.arange(len(half), device=half.device)
    order = torch.empty_like(ids)
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=half.device)
    value = torch.empty_like(half)
    left = len(half)
    for pick in range(picks):
        torch.addmv(half, centred, total.to(half.dtype), out=value)
        # The place stays a tensor, so that a GPU is not waited for at every pick.
        best = value.argmin(0, keepdim=True)
        order[pick] = ids.index_select(0, best)[0]
        total += centred.index_select(0, best)[0]
        half.index_fill_(0, best, float("inf"))
        left -= 1
        if left < _REST * len(half):
            rest = torch.nonzero(half < float("inf")).squeeze(1)
            centred, half, ids = centred[rest], half[rest], ids[rest]
            value = torch.empty_like(half)
    torch.addmv(half, centred, total.to(half.dtype), out=value)
    order[picks:] = ids[value.argsort(stable=True)[:left]]
    return order


@register
@dataclass(frozen=True, kw_only=True)
class Herding(GreedyScore):
    """Place in the herding order: x_{t+1} = argmin_x || (t+1) mu - sum_{s picked} h(s) - h(x) ||_2, 1 ... n.

    Watches the embeddings of the clean pass after the last epoch; mu is the mean of the class, and the
    orders of the classes are merged so that every class has its proportional share at every budget;
    `per_class=false` herds all samples to their common mean. With `picks` fewer than all (10%, 5000), the
    ranks after them go by what each would add to the distance then, least first.
    Departs from the paper: every sample is picked once. Some public codes take the argmax, which picks
    the sample farthest from where it should be; this is the argmin.
    """

    info = ScoreInfo(
        name="herding",
        title="Herding",
        paper="https://doi.org/10.1145/1553374.1553517",
        keep_first="low",
        hard_end=None,
    )
    per_class: bool = True

    def order(self, features: Tensor, picks: int) -> Tensor:
        """See `GreedyScore.order`."""
        return order_herd(features, picks)
