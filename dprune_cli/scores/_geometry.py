"""Geometry of embeddings that several scores need: members of a class, directions, distances to a centre."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dprune_cli.core.errors import DataError
from dprune_cli.train.observe import RunInfo

# Rows taken to double precision at a time.
_ROWS = 1 << 13


def members(group: Tensor) -> Iterator[Tensor]:
    """Positions of the members of every group that has some, in rising order.

    Args:
        group: (n,) group numbers, 0 or more.

    >>> [rows.tolist() for rows in members(torch.tensor([3, 0, 3, 0, 0]))]
    [[1, 3, 4], [0, 2]]
    """
    counts = torch.bincount(group).tolist()
    yield from filter(len, torch.split(group.argsort(stable=True), counts))


def unit(vectors: Tensor) -> Tensor:
    """(n, D) float64: the vectors scaled to length 1; a vector of zeros has no direction and stays zero.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    vectors = vectors.double()
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def distances(vectors: Tensor, centre: Tensor) -> Tensor:
    """(n,) float64 Euclidean distances of (n, D) vectors to a (D,) centre."""
    parts = [torch.linalg.vector_norm(part.double() - centre, dim=1) for part in torch.split(vectors, _ROWS)]
    return torch.cat(parts)


def refuse_lone_samples(score: str, run: RunInfo, advice: str) -> None:
    """`DataError` naming a class of one usable sample: it is its own centre, at a distance of 0."""
    target = run.target.cpu()
    counts = torch.bincount(target[target >= 0])
    for number in torch.nonzero(counts == 1).flatten().tolist():
        key = run.keys[int((target == number).nonzero())]
        raise DataError(
            f"{score}: class {run.class_name(number)} has one sample, which is its own centre ({key!r}); "
            f"merge the class with another, leave it out, {advice}"
        )
