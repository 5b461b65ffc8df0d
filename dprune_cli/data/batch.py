"""What training and probing read from, and the decoding workers that the two kinds of images share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dprune_cli.core import ranks
from dprune_cli.core.config import TrainConfig
from dprune_cli.data.decode import DecodeError, decode_image
from dprune_cli.data.spans import SpanReader
from dprune_cli.io.samples import Samples

Progress = Callable[[int, int], None]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Piece:
    """One batch, and the part of it that this process reads.

    Attributes:
        rows: (B,) row numbers, of all processes.
        part: (b,) places in `rows`, ascending; a single process has all.
    """

    rows: NDArray[np.int64]
    part: NDArray[np.int64]

    @property
    def own(self) -> NDArray[np.int64]:
        """(b,) the row numbers that this process reads."""
        return self.rows[self.part]


View = Callable[[Tensor, Generator, Piece], Tensor]

# Images a task: enough to outweigh the cost of handing it to a thread, few enough to stop at once.
_SLICE = 16


class Inputs(Protocol):
    """What a model is fed, by row: the images of a data set, or recorded features.

    Attributes:
        rows: (M,) the usable rows, ascending.
        bad: rows that the index took for usable but that cannot be read, with their status.
        device: where batches arrive.
    """

    rows: NDArray[np.int64]
    bad: dict[int, str]
    device: torch.device

    def get(self, rows: Tensor) -> Tensor:
        """What is stored of rows (B,), which may repeat, on `device`; first dimension B.

        Raises:
            ValueError: one of the rows is not usable.
        """
        ...

    def batches(self, pieces: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """Row numbers (B,) on the CPU and what `get` gives of them, for each of `pieces`, in their order.

        A piece may be empty. The iterator may be left early.
        """
        ...

    def clean(self, stored: Tensor) -> Tensor:
        """The model's input for a batch as `get` gives it, as it is evaluated."""
        ...

    def views(self, config: TrainConfig) -> View:
        """From a batch as `get` gives it to the model's input in training: augmented by a generator.

        What it draws is drawn for the whole batch, so that a view does not depend on who else has a part.
        """
        ...


class Images(Inputs, Protocol):
    """The decoded images of a data set; `get` gives uint8 (B, 3, stored, stored).

    Attributes:
        size: side of the images that the model sees, after `clean` or `views`.
        stored: side of the images that `get` and `batches` give; `size` or more.
    """

    size: int
    stored: int


class Usable:
    """The usable rows of N samples, and where each stands among them."""

    def __init__(self, total: int, candidates: NDArray[np.int64], bad: dict[int, str]) -> None:
        self.rows = candidates[~np.isin(candidates, list(bad))] if bad else candidates
        self._slots = torch.full((total,), -1, dtype=torch.int64)
        self._slots[torch.from_numpy(candidates)] = torch.arange(len(candidates))
        self._slots[list(bad)] = -1

    def slots(self, rows: Tensor) -> Tensor:
        """Positions (B,) of rows (B,) among the candidates; `ValueError` if one is not usable."""
        slots = self._slots[rows.cpu()]
        if bool((slots < 0).any()):
            raise ValueError(f"row {int(rows.cpu()[slots < 0][0])} is not usable")
        return slots


class Decoder:
    """Decodes rows of `samples` to (3, side, side) with `workers` threads.

    The pixels of a row depend on its bytes and `side` alone, never on the number of workers.
    """

    def __init__(self, samples: Samples, side: int, workers: int | None) -> None:
        self.reader = SpanReader(samples)
        self.side = side
        self.workers = workers or max(1, len(os.sched_getaffinity(0)) // ranks.here()[1])
        # Images to decode at once where the order of work is free: enough for the workers to end together.
        self.chunk = 8 * _SLICE * self.workers

    @contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Worker threads for the duration of the block; leaving it drops what has not been started."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        try:
            yield pool
        finally:
            # Without the cancelling, Ctrl-C would first decode everything that is queued.
            pool.shutdown(wait=True, cancel_futures=True)

    def start(
        self, pool: ThreadPoolExecutor, rows: NDArray[np.int64], out: Tensor
    ) -> list[Future[dict[int, str]]]:
        """Start to decode rows (B,) into a uint8 tensor (B, 3, side, side) on the CPU."""
        pixels = out.numpy()
        return [
            pool.submit(self._decode, rows[first : first + _SLICE], pixels[first : first + _SLICE])
            for first in range(0, len(rows), _SLICE)
        ]

    def batches_ahead(self, batch_size: int) -> int:
        """How many batches keep all workers busy while one is used."""
        return max(2, -(-2 * self.workers * _SLICE // max(1, batch_size)))

    def _decode(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> dict[int, str]:
        bad: dict[int, str] = {}
        for position, row in enumerate(rows.tolist()):
            try:
                out[position] = decode_image(self.reader.read(row), self.side)
            except DecodeError as error:
                bad[row] = error.status
        return bad


def wait_for(futures: Iterable[Future[dict[int, str]]]) -> dict[int, str]:
    """The broken rows among those that were started; a worker's error is raised here."""
    return {row: status for future in futures for row, status in future.result().items()}


def split(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Rows in pieces of `size`, the last one as it comes, but never a single row after others.

    Batch norm cannot train on one sample, so a single last row joins the piece before it.

    >>> [len(piece) for piece in split(np.arange(8), 3)], [len(piece) for piece in split(np.arange(7), 3)]
    ([3, 3, 2], [3, 4])
    """
    count = count_pieces(len(rows), size)
    for number in range(count):
        yield rows[number * size : (number + 1) * size if number < count - 1 else None]


def count_pieces(total: int, size: int) -> int:
    """How many pieces `split` makes of `total` rows.

    >>> [count_pieces(total, 3) for total in (0, 1, 3, 4, 5)]
    [0, 1, 1, 1, 2]
    """
    joined = total > size > 1 and total % size == 1
    return -(-total // size) - joined
