"""Recorded features of a data set in place of its images, in memory as one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import DpruneError
from dprune_cli.data.batch import Batch, Piece, Usable, View


class Vectors:
    """Features of the usable samples; see `Inputs`. They are shown to the model as they are.

    Args:
        features: (M, D) float32, in the order of `rows`. On a CPU its memory is used, not copied.
        rows: (M,) rows of the usable samples, ascending.
        total: N, how many samples there are.
        device: where batches are wanted, and where the features are kept.

    Raises:
        DpruneError: they do not fit into the device's memory.

    Attributes:
        width: D.

    >>> stored = Vectors(np.eye(2, dtype=np.float32), np.array([0, 2]), 3, torch.device("cpu"))
    >>> stored.get(torch.tensor([2, 0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    def __init__(
        self, features: NDArray[np.float32], rows: NDArray[np.int64], total: int, device: torch.device
    ) -> None:
        self.device = device
        self.width = features.shape[1]
        self.bad: dict[int, str] = {}
        self.rows = rows
        self._usable = Usable(total, rows, self.bad)
        try:
            self._values = torch.from_numpy(features).to(device)
        except torch.OutOfMemoryError:
            size = features.nbytes / 10**9
            raise DpruneError(
                f"the features take {size:.1f} GB, more than is free on {device}; give --device cpu"
            ) from None

    def get(self, rows: Tensor) -> Tensor:
        """See `Inputs.get`; float32 (B, D)."""
        return self._values.index_select(0, self._usable.slots(rows).to(self.device))

    def batches(self, pieces: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """See `Inputs.batches`."""
        if not pieces:
            return
        index = torch.from_numpy(np.concatenate(pieces).astype(np.int64))
        # At once for all batches: a batch of features is a matter of microseconds.
        slots = self._usable.slots(index).to(self.device)
        sizes = [len(piece) for piece in pieces]
        for own, places in zip(torch.split(index, sizes), torch.split(slots, sizes), strict=True):
            yield own, self._values.index_select(0, places)

    def clean(self, stored: Tensor) -> Tensor:
        """See `Inputs.clean`."""
        return stored

    def views(self, config: TrainConfig) -> View:
        """See `Inputs.views`; there is nothing to augment."""
        return _unchanged


def _unchanged(stored: Tensor, generator: Generator, piece: Piece) -> Tensor:
    return stored
