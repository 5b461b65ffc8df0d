"""The side of the images a model sees, and the side they are stored at before augmentation.

There are two regimes. Small images (thumbnails such as CIFAR's, up to 96 pixels) are stored at the size
the model sees and augmented by shifts. Larger ones are stored with a margin, 256 for 224, and augmented by
random resized crops.
"""

from __future__ import annotations

import math
from itertools import islice

import numpy as np

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.data.decode import DecodeError, probe_image
from dprune_cli.data.spans import SpanReader
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.samples import Samples

LARGEST_SMALL = 96
LARGE = 224
_SMALLEST = 8
_PROBES = 256


def choose_image_size(samples: Samples) -> int:
    """The input side that suits a data set, judged by up to 256 of its images.

    The median shorter side, made even and at least 8, if that is at most 96 pixels; else 224. Which images
    are looked at depends on their keys alone. Of several processes, which must all call this, one looks.

    Raises:
        DataError: no image can be read.
    """
    return ranks.broadcast(_judge(samples) if ranks.is_main() else 0)


def _judge(samples: Samples) -> int:
    rows = np.flatnonzero(samples.ok())
    order = rows[np.argsort(hash_keys([samples.keys[row] for row in rows]), kind="stable")]
    reader = SpanReader(samples)
    try:
        sides = [side for row in islice(order, _PROBES) if (side := _shorter_side(reader, int(row)))]
    finally:
        reader.close()
    if not sides:
        raise DataError(
            f"{' '.join(samples.root)}: none of {min(len(order), _PROBES)} images tried can be read"
        )
    return _input_side(float(np.median(sides)))


def stored_size(image_size: int) -> int:
    """The side at which images are stored for a model that sees `image_size`.

    >>> stored_size(32), stored_size(224)
    (32, 256)
    """
    return image_size if image_size <= LARGEST_SMALL else round(image_size * 8 / 7)


def _input_side(median: float) -> int:
    even = 2 * math.floor(median / 2 + 0.5)
    return max(even, _SMALLEST) if even <= LARGEST_SMALL else LARGE


def _shorter_side(reader: SpanReader, row: int) -> int:
    """0 if the image cannot be read; it will be counted and reported when it is decoded."""
    try:
        return min(probe_image(reader.read(row)))
    except DecodeError:
        return 0
