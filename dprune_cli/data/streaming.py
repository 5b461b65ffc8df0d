"""Images that do not fit into memory: decoded anew for every batch, a few batches ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core.errors import DataError
from dprune_cli.data.augment import ImageViews
from dprune_cli.data.batch import Batch, Decoder, Progress, Usable, split, wait_for
from dprune_cli.data.choose import stored_size
from dprune_cli.io.samples import Samples

_Pending = tuple[Tensor, Tensor, list[Future[dict[int, str]]]]


class Streaming(ImageViews):
    """Images decoded when they are asked for; see `Images`. The pixels are those of `Resident`.

    Every image is decoded once and thrown away when this is made, so that broken ones are known before
    training starts, as they are for `Resident`: that costs as much time as one epoch of reading.

    Args:
        samples: the data set.
        rows: the usable rows that are wanted, ascending.
        size: side of the images that the model sees.
        device: where batches are wanted.
        workers: decoding threads; None for one a core.
        progress: called with the images verified and their total, from this thread.
    """

    def __init__(
        self,
        samples: Samples,
        rows: NDArray[np.int64],
        size: int,
        device: torch.device,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.size, self.stored, self.device = size, stored_size(size), device
        self._samples = samples
        self._decoder = Decoder(samples, self.stored, workers)
        self.bad: dict[int, str] = {}
        done = 0
        for index, _, bad in self._decode(list(split(rows, self._decoder.chunk)), pinned=False):
            self.bad |= bad
            done += len(index)
            if progress is not None:
                progress(done, len(rows))
        self._usable = Usable(len(samples), rows, self.bad)
        self.rows = self._usable.rows

    def get(self, rows: Tensor) -> Tensor:
        """See `Inputs.get`."""
        (batch,) = self.batches([rows.cpu().numpy()])
        return batch[1]

    def batches(self, pieces: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """See `Inputs.batches`.

        Raises:
            DataError: an image that was whole when this was made no longer is.
        """
        for piece in pieces:
            self._usable.slots(torch.tensor(piece, dtype=torch.int64))
        for index, images, bad in self._decode(pieces, pinned=self.device.type == "cuda"):
            for row in bad:
                raise DataError(
                    f"{self._samples.path(row)}: the image of {self._samples.keys[row]} can no longer be "
                    "decoded; leave the data alone while they are in use"
                )
            yield index, images.to(self.device, non_blocking=True)

    def _decode(
        self, pieces: Sequence[NDArray[np.int64]], *, pinned: bool
    ) -> Iterator[tuple[Tensor, Tensor, dict[int, str]]]:
        ahead = self._decoder.batches_ahead(max(map(len, pieces), default=0))
        pending: deque[_Pending] = deque()
        try:
            with self._decoder.pool() as pool:
                for piece in pieces:
                    pending.append(self._start(pool, piece, pinned))
                    if len(pending) > ahead:
                        yield _finish(pending.popleft())
                while pending:
                    yield _finish(pending.popleft())
        finally:
            self._decoder.reader.close()

    def _start(self, pool: ThreadPoolExecutor, rows: NDArray[np.int64], pinned: bool) -> _Pending:
        shape = (len(rows), 3, self.stored, self.stored)
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        index = torch.tensor(rows, dtype=torch.int64)
        return index, images, self._decoder.start(pool, rows, images)


def _finish(pending: _Pending) -> tuple[Tensor, Tensor, dict[int, str]]:
    index, images, futures = pending
    return index, images, wait_for(futures)
