"""The tenth of the data that validates the query model where there is no validation data."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.seeds import derive
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.samples import Samples

HELD_OUT = "held_out"
# A class gives one sample of this many.
TENTH = 10


def hold_out(samples: Samples, seed: int) -> NDArray[np.bool_]:
    """(N,) a tenth of the usable samples of every class, halves rounded up, chosen by a hash of their keys.

    A class with fewer than five usable samples gives none. The choice is independent of what `select`
    draws at random with the same seed.

    Args:
        samples: the data.
        seed: of the hashes.
    """
    held = np.zeros(len(samples), bool)
    rows = np.flatnonzero(samples.ok())
    hashes = hash_keys([samples.keys[row] for row in rows], derive(seed, "hold out"))
    order = rows[np.lexsort((hashes, samples.label[rows]))]
    label = samples.label[order]
    sizes = np.bincount(label, minlength=len(samples.classes))
    # The place of every sample in its class, by hash.
    place = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[label]
    held[order[place < (sizes[label] + TENTH // 2) // TENTH]] = True
    return held


def without(samples: Samples, held: NDArray[np.bool_]) -> Samples:
    """The same rows, of which those held out cannot be used for anything."""
    return dataclasses.replace(samples, status=np.where(held, HELD_OUT, samples.status))
