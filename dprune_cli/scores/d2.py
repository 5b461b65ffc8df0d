"""D2 pruning: difficulty, and diversity by messages on a graph of neighbours.

Maharana, Yadav, Bansal, "D2 Pruning: Message Passing for Balancing Diversity and Difficulty in Data
Pruning", ICLR 2024, section 3, https://arxiv.org/abs/2310.07931
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.budget import round_half_up
from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._embedding import Points, last_pass, points
from dprune_cli.scores._greedy import (
    count_picks,
    parse_picks,
    rank_greedily,
    squared_distances,
    squared_norms,
)
from dprune_cli.scores.aum import Aum
from dprune_cli.scores.base import Score, register
from dprune_cli.scores.forgetting import Forgetting
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, RunInfo, embedding_of

# Distances that are held at a time: 128 MiB on a CPU.
_CPU_DISTANCES, _GPU_DISTANCES = 1 << 24, 1 << 28

# What a neighbour without any difficulty still sends.
_LEAST = 1e-7

Mode = Literal["weighted", "absolute"]


@dataclass(frozen=True)
class Graph:
    """Undirected neighbours, by ends: those of node i are `ends[starts[i]:starts[i + 1]]`.

    Attributes:
        starts: (n + 1,).
        ends: (2 E,).
        distances: (2 E,) Euclidean.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    distances: NDArray[np.float64]


def nearest(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(n, k) the nearest other points and their distances; the first of equally near ones.

    Takes O(n^2 D) time. Distances are held for a few points at a time: O(n k) memory and a fixed amount.
    """
    norms, count = squared_norms(features), len(features)
    size = max(1, (_GPU_DISTANCES if features.is_cuda else _CPU_DISTANCES) // max(1, count))
    places, found = [], []
    for first in range(0, count, size):
        some = slice(first, min(first + size, count))
        near = torch.empty(some.stop - first, count, dtype=torch.float64, device=norms.device)
        for part, block in squared_distances(features, norms, features[some].double()):
            near[:, part] = block.T
        own = torch.arange(first, some.stop, device=near.device)
        near[own - first, own] = float("inf")
        place = near.topk(k, largest=False).indices
        last = near.gather(1, place).amax(1, keepdim=True)
        # Which of the equally far ones topk takes is not defined.
        tied = torch.nonzero((near <= last).sum(1) > k).squeeze(1)
        if len(tied):
            place[tied] = _first_nearest(near[tied], last[tied], k)
        places.append(place)
        found.append(near.gather(1, place).sqrt_())
    return torch.cat(places), torch.cat(found)


def _first_nearest(near: Tensor, last: Tensor, k: int) -> Tensor:
    """(b, k) columns nearer than `last`, filled up with the first ones that are as far."""
    key = torch.arange(near.shape[1], dtype=torch.float64, device=near.device).expand_as(near).clone()
    key.masked_fill_(near < last, -1.0).masked_fill_(near > last, float("inf"))
    return key.topk(k, largest=False).indices


def make_graph(features: Tensor, k: int) -> Graph:
    """Every point tied to its k nearest others, in both directions."""
    count = len(features)
    k = min(k, count - 1)
    if k < 1:
        return Graph(np.zeros(count + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    places, distances = (part.cpu().numpy() for part in nearest(features, k))
    one, other = np.repeat(np.arange(count), k), places.reshape(-1)
    # Where each is among the other's nearest the edge is found twice, perhaps with different rounding.
    edges, where = np.unique(np.minimum(one, other) * count + np.maximum(one, other), return_index=True)
    length = distances.reshape(-1)[where]
    ends = np.concatenate([edges // count, edges % count])
    order = np.lexsort((np.roll(ends, len(edges)), ends))
    starts = np.searchsorted(ends[order], np.arange(count + 1))
    return Graph(starts, np.roll(ends, len(edges))[order], np.tile(length, 2)[order])


def send_forward(difficulty: NDArray[np.float64], graph: Graph) -> NDArray[np.float64]:
    """(n,) u_i = s_i + sum_{j next to i} exp(-d_ij) max(s_j, 1e-7)."""
    owner = np.repeat(np.arange(len(difficulty)), np.diff(graph.starts))
    message = np.exp(-graph.distances) * np.maximum(difficulty[graph.ends], _LEAST)
    return difficulty + np.bincount(owner, message, len(difficulty))


def pick_in_turn(
    u: NDArray[np.float64], graph: Graph, gamma: float, mode: Mode, picks: int
) -> NDArray[np.int64]:
    """(n,) the nodes in order: picks by largest u, then the rest by u; the first of equals.

    A pick i takes exp(-gamma d_ij) u_i ("weighted") or exp(-gamma d_ij) ("absolute") from each neighbour j
    that is left. Takes O(n k log n) time.
    """
    kernel = np.exp(-gamma * graph.distances).tolist()
    starts, ends = graph.starts.tolist(), graph.ends.tolist()
    value, left = u.tolist(), [True] * len(u)
    heap = [(-number, node) for node, number in enumerate(value)]
    heapq.heapify(heap)
    order: list[int] = []
    while len(order) < picks:
        negative, node = heapq.heappop(heap)
        # A node stands in the heap once for every value that it ever had.
        if not left[node] or -negative != value[node]:
            continue
        left[node] = False
        order.append(node)
        factor = value[node] if mode == "weighted" else 1.0
        for place in range(starts[node], starts[node + 1]):
            other = ends[place]
            if left[other]:
                value[other] -= kernel[place] * factor
                heapq.heappush(heap, (-value[other], other))
    rest = np.flatnonzero(left)
    return np.concatenate([order, rest[np.argsort(-np.array(value)[rest], kind="stable")]]).astype(np.int64)


@register
@dataclass(frozen=True, kw_only=True)
class D2(Score):
    """Place in the greedy order of u_i = s_i + sum_{j next to i} exp(-d_ij) max(s_j, 1e-7), 1 ... n.

    s is the difficulty: forgetting events (E + 1 for a sample never learned), or `difficulty=aum`, the
    largest mean margin minus the sample's own. Neighbours are the `k` nearest embeddings after the last
    epoch, in both directions, of the same class or (`per_class=false`) of all. A pick i takes
    exp(-gamma d_ij) u_i from its neighbours; `mode=absolute` leaves out the factor u_i. `mislabelled=0.4`
    drops that share of all samples first, lowest AUM first: they get the last ranks, the lowest the very
    last. The orders of the classes are merged so that every class has its proportional share (of what was
    not dropped) at every budget. With `picks` fewer than all (10%, 5000), the ranks after go by u then.
    Departs from the paper where the authors' code does: both kernels take the distance itself, gamma is 1
    in the forward one, and a message is never less than 1e-7 exp(-d). Classes: as in their CIFAR-10 example.
    """

    info = ScoreInfo(
        name="d2",
        title="D2 pruning",
        paper="https://arxiv.org/abs/2310.07931",
        keep_first="low",
        hard_end=None,
    )
    difficulty: Literal["forgetting", "aum"] = "forgetting"
    mislabelled: float = 0.0
    k: int = 5
    gamma: float = 0.1
    mode: Mode = "weighted"
    per_class: bool = True
    picks: str = "100%"

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The embeddings at the end, and what forgetting or AUM watch."""
        parse_picks(self.info.name, self.picks)
        if not 0 <= self.mislabelled < 1:
            raise UsageError(f"d2:mislabelled={self.mislabelled} is no share to drop; give 0 to below 1")
        if self.k < 1:
            raise UsageError(f"d2:k={self.k} leaves no neighbours; give 1 or more")
        if not 0 <= self.gamma < math.inf:
            raise UsageError(f"d2:gamma={self.gamma} is no decay; give 0 or more")
        watched: dict[str, Recorder] = {"embedding": last_pass(embedding_of, epochs, Field.EMBEDDING)}
        if self.difficulty == "forgetting":
            watched |= Forgetting().recorders(epochs)
        if self.difficulty == "aum" or self.mislabelled > 0:
            watched |= Aum().recorders(epochs)
        return watched

    def compute(  # type: ignore[override]
        self,
        run: RunInfo,
        *,
        embedding: Tensor,
        transitions: Tensor | None = None,
        margins: Tensor | None = None,
    ) -> Tensor:
        """(N,) ranks; NaN for samples without an embedding or training visit."""
        hard = self._difficulties(run, transitions, margins).to(embedding.device)
        seen = points(run, embedding).rows
        seen = seen[~hard[seen].isnan()]
        count = count_picks(parse_picks(self.info.name, self.picks), len(seen))
        pool, dropped = seen, seen[:0]
        if margins is not None:
            share = round_half_up(Fraction(repr(self.mislabelled)) * len(seen))
            by_aum = margins.to(embedding.device)[seen].argsort(stable=True)
            pool, dropped = seen[by_aum[share:].sort().values], seen[by_aum[:share]]
        if self.difficulty == "aum" and len(pool):
            hard = hard - hard[pool].min()
        out = torch.full((run.samples,), float("nan"), dtype=torch.float64, device=embedding.device)
        out[dropped] = torch.arange(len(seen), len(pool), -1, dtype=torch.float64, device=out.device)

        def order_of(part: Points, picks: int) -> Tensor:
            graph = make_graph(part.features, self.k)
            u = send_forward(hard[part.rows].cpu().numpy(), graph)
            return torch.from_numpy(pick_in_turn(u, graph, self.gamma, self.mode, picks))

        left = Points(embedding[pool], run.target.to(pool.device)[pool], pool)
        out[pool] = rank_greedily(left, count, self.per_class, order_of)
        return out

    def _difficulties(self, run: RunInfo, transitions: Tensor | None, margins: Tensor | None) -> Tensor:
        """(N,) high for hard, NaN for samples without a training visit; negative AUM not shifted yet."""
        if self.difficulty == "aum" and margins is not None:
            return -Aum().compute(run, margins=margins).double()
        if self.difficulty == "forgetting" and transitions is not None:
            return Forgetting().compute(run, transitions=transitions)
        raise RuntimeError(f"d2 was not given what its difficulty {self.difficulty!r} watches")
