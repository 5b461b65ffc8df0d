"""`open_images`: decode a data set once if that fits into memory, else stream it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data.batch import Images, Progress
from dprune_cli.data.choose import choose_image_size, stored_size
from dprune_cli.data.memory import host_memory
from dprune_cli.data.resident import Resident
from dprune_cli.data.streaming import Streaming
from dprune_cli.io.samples import Samples

_SMALLEST = 8


def open_images(
    samples: Samples,
    *,
    rows: NDArray[np.int64] | None = None,
    image_size: int | None,
    cache_memory: int | None,
    device: torch.device,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Images:
    """The images of usable samples.

    Args:
        samples: the data set.
        rows: those that are wanted; None for all usable ones.
        image_size: side of the images that the model sees; None to judge by the data.
        cache_memory: bytes that decoded images may take, 0 to stream; None for a quarter of the memory of
            the GPU that is free, or else of the RAM.
        device: where batches are wanted.
        workers: decoding threads; None for one a core. They change no result.
        progress: called with the images done and their total.

    Raises:
        DataError: there is no usable sample.
        UsageError: the image size is below 8.
    """
    if image_size is not None and image_size < _SMALLEST:
        raise UsageError(f"an image size of {image_size} is too small; use at least {_SMALLEST}")
    if not samples.ok().any():
        raise DataError(f"{' '.join(samples.root)}: there is no usable sample")
    rows = np.flatnonzero(samples.ok()) if rows is None else rows
    size = image_size or choose_image_size(samples)
    store = _find_store(len(rows) * 3 * stored_size(size) ** 2, cache_memory, device)
    images: Images
    if store is None:
        images = Streaming(samples, rows, size, device, workers, progress)
    else:
        images = Resident(samples, rows, size, device, store, workers, progress)
    return images


def _find_store(need: int, cache_memory: int | None, device: torch.device) -> torch.device | None:
    """Where `need` bytes of images are kept; None if they fit nowhere."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What a user allows may be meant for the RAM; half of the GPU is left to the training in any case.
        if need <= (free // 4 if cache_memory is None else min(cache_memory, free // 2)):
            return device
    budget = host_memory() // (4 * ranks.here()[1]) if cache_memory is None else cache_memory
    return torch.device("cpu") if need <= budget else None
