"""Images that are decoded once and then kept, in RAM or on the GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.data.augment import ImageViews
from dprune_cli.data.batch import Batch, Decoder, Progress, Usable, split, wait_for
from dprune_cli.data.choose import stored_size
from dprune_cli.io.samples import Samples


class Resident(ImageViews):
    """All images in one uint8 tensor; see `Images`.

    Args:
        samples: the data set.
        rows: the usable rows that are wanted, ascending.
        size: side of the images that the model sees.
        device: where batches are wanted.
        store: where the tensor is kept: `device` itself, or the CPU.
        workers: decoding threads; None for one a core.
        progress: called with the images done and their total, from this thread.
    """

    def __init__(
        self,
        samples: Samples,
        rows: NDArray[np.int64],
        size: int,
        device: torch.device,
        store: torch.device,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.size, self.stored, self.device = size, stored_size(size), device
        decoder = Decoder(samples, self.stored, workers)
        try:
            self._pixels, self.bad = _decode_all(decoder, rows, store, progress)
        finally:
            decoder.reader.close()
        self._usable = Usable(len(samples), rows, self.bad)
        self.rows = self._usable.rows

    def get(self, rows: Tensor) -> Tensor:
        """See `Inputs.get`."""
        slots = self._usable.slots(rows).to(self._pixels.device)
        return self._pixels.index_select(0, slots).to(self.device)

    def batches(self, pieces: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """See `Inputs.batches`."""
        for piece in pieces:
            index = torch.tensor(piece, dtype=torch.int64)
            yield index, self.get(index)


def _decode_all(
    decoder: Decoder, rows: NDArray[np.int64], store: torch.device, progress: Progress | None
) -> tuple[Tensor, dict[int, str]]:
    shape = (3, decoder.side, decoder.side)
    pixels = torch.empty((len(rows), *shape), dtype=torch.uint8, device=store)
    bad: dict[int, str] = {}
    done = 0
    with decoder.pool() as pool:
        for piece in split(rows, decoder.chunk):
            target = pixels[done : done + len(piece)]
            # A GPU is filled by way of a small buffer, since its memory may be larger than the machine's.
            buffer = target if store.type == "cpu" else torch.empty((len(piece), *shape), dtype=torch.uint8)
            bad |= wait_for(decoder.start(pool, piece, buffer))
            if buffer is not target:
                target.copy_(buffer)
            done += len(piece)
            if progress is not None:
                progress(done, len(rows))
    return pixels, bad
