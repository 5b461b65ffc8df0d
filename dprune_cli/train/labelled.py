"""What a model is trained on or passes over, and how several processes share the work on it.

A process reads only its own rows. All of them know which rows a batch has, in the order of a single
process; each feeds its own part of it to its copy of the model, and what the model says is gathered, so
that every process sees what a single one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core import ranks
from dprune_cli.data.batch import Inputs, Piece, split


@dataclass(frozen=True)
class Labelled:
    """Images or features with their labels.

    Attributes:
        inputs: where they come from.
        rows: row numbers that take part, of all processes.
        target: (N,) class ids of all rows.
        weight: (N,) factors on the samples' losses; None for 1.
        owner: (N,) the process that reads each row, -1 for rows that nobody reads; None if one reads all.
    """

    inputs: Inputs
    rows: NDArray[np.int64]
    target: Tensor
    weight: Tensor | None = None
    owner: NDArray[np.int64] | None = None

    def batches(self, rows: NDArray[np.int64], size: int) -> list[Piece]:
        """Batches of `size` of `rows`, in this order, whichever process reads them."""
        pieces = split(rows, size)
        if self.owner is None:
            return [Piece(piece, np.arange(len(piece))) for piece in pieces]
        return [Piece(piece, np.flatnonzero(self.owner[piece] == ranks.rank())) for piece in pieces]

    def clean_batches(self, size: int) -> list[Piece]:
        """Batches of all rows, in each of which every process has up to `size` of its own, in their order."""
        if self.owner is None:
            return self.batches(self.rows, size)
        shares = [list(split(self.rows[self.owner[self.rows] == one], size)) for one in range(ranks.size())]
        none = np.empty(0, np.int64)
        together = []
        for number in range(max(map(len, shares))):
            parts = [share[number] if number < len(share) else none for share in shares]
            first = sum(map(len, parts[: ranks.rank()]))
            own = np.arange(first, first + len(parts[ranks.rank()]))
            together.append(Piece(np.concatenate(parts), own))
        return together

    def gather(self, values: Tensor, piece: Piece) -> Tensor:
        """(B, ...) values of a whole batch, in its order, from the (b, ...) of this process's part."""
        if self.owner is None:
            return values
        owner = self.owner[piece.rows]
        most = int(np.bincount(owner).max())
        filled = values.new_zeros(most, *values.shape[1:])
        filled[: len(values)] = values
        found = values.new_empty(len(owner), *values.shape[1:])
        for one, part in enumerate(ranks.gather_tensors(filled)):
            places = torch.from_numpy(np.flatnonzero(owner == one)).to(values.device)
            found[places] = part[: len(places)]
        return found


def find_owners(inputs: Inputs, total: int) -> NDArray[np.int64] | None:
    """(N,) which process reads each row, for `Labelled.owner`; every process must call this."""
    if ranks.size() == 1:
        return None
    owner = np.full(total, -1, np.int64)
    for one, rows in enumerate(ranks.gather(inputs.rows)):
        owner[rows] = one
    return owner
