"""What the greedy scores share: how many picks, one order from the orders of the classes, exact distances.

A greedy score is the order in which samples are picked, 1 for the first, so that one run serves every
budget: whoever keeps the B lowest keeps the first B picks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.budget import Budget, parse_budget, round_half_up
from dprune_cli.core.errors import UsageError
from dprune_cli.scores._embedding import EmbeddingScore, Points
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo

# Squared distances below this share of the squared norm are rounding: the points are the same. Float64
# products of a few thousand terms err by about 1e-14, float32 features themselves by 1e-7, squared 1e-14.
_SAME = 1e-12

# Float64 numbers of one block: within a processor's cache, or enough to keep a GPU busy.
_CPU_BLOCK, _GPU_BLOCK = 1 << 20, 1 << 26


def parse_picks(method: str, text: str) -> Budget:
    """The parameter `picks` of a method: how many picks are made one after the other.

    Raises:
        UsageError: it is no fraction or count, or it is none or more than everything.
    """
    budget = parse_budget(text, f"{method}:picks")
    if budget.amount == 0 or (budget.amount > 1 and not budget.is_count):
        raise UsageError(
            f"{method}:picks={text} is none or more than all; write 10%, 0.1 or a count like 5000"
        )
    return budget


def count_picks(budget: Budget, available: int) -> int:
    """Picks to make of `available` samples: at least one, at most all.

    >>> count_picks(parse_picks("herding", "15%"), 10), count_picks(parse_picks("herding", "99"), 10)
    (2, 10)
    """
    asked = round_half_up(budget.amount * (1 if budget.is_count else available))
    return min(available, max(1, asked))


def merge(orders: Sequence[Tensor]) -> Tensor:
    """One order from those of the classes, in which every class has its proportional share at every budget.

    The r-th of the n_c of a class stands at (r - 1/2) / n_c; ties go to the earlier class. The first B of
    that are Webster's apportionment of B seats.

    >>> merge([torch.tensor([4, 2]), torch.tensor([7, 1, 0, 3])]).tolist()  # 1/4 3/4, 1/8 3/8 5/8 7/8
    [7, 4, 1, 0, 2, 3]
    """
    # Quotients of integers are rounded correctly, so that equal fractions are equal numbers.
    places = [
        (2 * torch.arange(len(order), dtype=torch.float64, device=order.device) + 1) / (2 * len(order))
        for order in orders
    ]
    return torch.cat(list(orders))[torch.cat(places).argsort(stable=True)]


def rank_greedily(
    found: Points, count: int, per_class: bool, order_of: Callable[[Points, int], Tensor]
) -> Tensor:
    """(n,) float64 ranks of the points, 1 for the first pick.

    Args:
        found: the points.
        count: how many picks are made one after the other.
        per_class: order the points of every class by themselves and merge the orders. The picks are
            shared out so that the first ones of the merged order are all picks.
        order_of: an order of the points it is given, the first so many of which are picks.
    """
    count = min(count, len(found.rows))
    device = found.rows.device
    if count == 0:
        return torch.empty(0, dtype=torch.float64, device=device)
    if per_class:
        members = [torch.nonzero(found.target == c).squeeze(1) for c in sorted(set(found.target.tolist()))]
        owners = [torch.full_like(rows, number) for number, rows in enumerate(members)]
        shares = merge(owners)[:count].bincount(minlength=len(members)).tolist()

        def order_class(rows: Tensor, share: int) -> Tensor:
            # One class at a time is copied.
            part = Points(found.features[rows], found.target[rows], found.rows[rows])
            return rows[order_of(part, share).to(device)]

        order = merge([order_class(rows, share) for rows, share in zip(members, shares, strict=True)])
    else:
        order = order_of(found, count).to(device)
    return as_ranks(order)


def as_ranks(order: Tensor) -> Tensor:
    """(n,) float64: 1 for the element that stands first in the order, n for the last.

    >>> as_ranks(torch.tensor([2, 0, 1])).tolist()
    [2.0, 3.0, 1.0]
    """
    ranks = torch.empty(len(order), dtype=torch.float64, device=order.device)
    ranks[order] = torch.arange(1, len(order) + 1, dtype=torch.float64, device=order.device)
    return ranks


def in_double(features: Tensor, rows: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """(n, D) features, or some of their rows, in float64, block by block; each overwrites the one before.

    A copy of all rows would take twice the memory of the features themselves.
    """
    width = features.shape[1]
    count = len(features) if rows is None else len(rows)
    size = max(1, (_GPU_BLOCK if features.is_cuda else _CPU_BLOCK) // max(1, width))
    room = torch.empty(min(size, count), width, dtype=torch.float64, device=features.device)
    for first in range(0, count, size):
        part = slice(first, min(first + size, count))
        yield part, room[: part.stop - first].copy_(features[part if rows is None else rows[part]])


def squared_norms(features: Tensor) -> Tensor:
    """(n,) float64 |x|^2."""
    norms = [block.square_().sum(1) for _, block in in_double(features)]
    return torch.cat(norms) if norms else torch.empty(0, dtype=torch.float64, device=features.device)


def mean_of(features: Tensor) -> Tensor:
    """(D,) float64 mean of the rows."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for _, block in in_double(features):
        total += block.sum(0)
    return total / len(features)


def squared_distances(
    features: Tensor, norms: Tensor, others: Tensor, rows: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """|x - c|^2 of all points x, or those in `rows`, to a few others c, a block of points after the other.

    Expanded as |x|^2 + |c|^2 - 2 x c in float64, where a mean far from 0 costs no digit that float32
    features had; what is left of the difference of equal points is set to 0.

    Args:
        features: (N, D) float32.
        norms: (n,) squared norms of the points, of all N or of `rows`.
        others: (m, D) float64.
        rows: (n,) which features are meant; None for all.

    Yields:
        A block, as a slice of the n points, and its (b, m) float64 distances.
    """
    other_norms = others.square().sum(1)
    for part, block in in_double(features, rows):
        found = torch.addmm(other_norms, block, others.T, alpha=-2)
        found += norms[part, None]
        yield part, found.masked_fill_(found <= _SAME * norms[part, None], 0.0)


@dataclass(frozen=True, kw_only=True)
class GreedyScore(EmbeddingScore):
    """The place of a sample in an order of embeddings, 1 ... n, of all samples or class by class."""

    picks: str = "100%"
    per_class: bool = False

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The embeddings of the clean pass at the end."""
        parse_picks(self.info.name, self.picks)
        return super().recorders(epochs)

    def values(self, found: Points, run: RunInfo) -> Tensor:
        """(n,) ranks."""
        count = count_picks(parse_picks(self.info.name, self.picks), len(found.rows))
        return rank_greedily(
            found, count, self.per_class, lambda part, picks: self.order(part.features, picks)
        )

    @abstractmethod
    def order(self, features: Tensor, picks: int) -> Tensor:
        """(n,) the points in order, the first `picks` of them picked one after the other."""
