"""Sample keys: how a member's name splits, and the seeded hash that orders keys.

The hash is what "random" means in dprune: a pick by hash depends on the keys and the seed alone, never
on the order in which shards or files were read.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core.seeds import derive
from dprune_cli.io.arrow import strings

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
# Keys at a time: few enough for the processor's cache.
_CHUNK = 1 << 15


def split_name(name: str) -> tuple[str, str] | None:
    """Key and field of a member's name: WebDataset's rule, the first dot of the base name divides.

    Returns None for a name without a key (`.hidden`) or without a field (`README`).

    >>> split_name("cats/img.v2.JPG"), split_name("a.b/c.cls"), split_name("dir/.hidden")
    (('cats/img', 'v2.jpg'), ('a.b/c', 'cls'), None)
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, field = base.partition(".")
    if not stem or not dot:
        return None
    return folder + slash + stem, field.lower()


def hash_keys(keys: pa.Array | pa.ChunkedArray | list[str], seed: int = 0) -> NDArray[np.uint64]:
    """A seeded 64-bit hash of every key, shape (N,).

    Every 8 bytes of a key pass through the finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable
    pseudorandom number generators", OOPSLA 2014), chained with what came before, the length first. It
    is vectorised over keys because a cryptographic hash a key takes longer than sorting the table does.
    """
    array = keys if isinstance(keys, (pa.Array, pa.ChunkedArray)) else strings(keys)
    if array.type not in (pa.string(), pa.large_string()):
        array = array.cast(pa.string())
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    start = np.uint64(derive(seed, "key"))
    hashed = [
        _hash_chunk(chunk.slice(first, _CHUNK), start)
        for chunk in chunks
        for first in range(0, len(chunk), _CHUNK)
    ]
    return np.concatenate(hashed) if hashed else np.empty(0, np.uint64)


def _hash_chunk(chunk: pa.Array, start: np.uint64) -> NDArray[np.uint64]:
    _, offset_buffer, data_buffer = chunk.buffers()
    width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    offsets = np.frombuffer(offset_buffer, width)[chunk.offset : chunk.offset + len(chunk) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    # Eight zero bytes after the end let the last word of the last key be read like any other.
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    # The eight bytes from every place on, as one number.
    words = np.ndarray(len(data) + 1, np.dtype("<u8"), padded, strides=(1,))
    begin, length = (offsets[:-1] - offsets[0]).astype(np.intp), np.diff(offsets).astype(np.int64)
    state = _mix(start + length.astype(np.uint64) * _GOLDEN)
    shortest, longest = int(length.min(initial=0)), int(length.max(initial=0))
    for position in range(0, longest, 8):
        if position < shortest:
            state = _absorb(state, words[begin + position], length - position)
        else:
            rows = np.flatnonzero(length > position)
            state[rows] = _absorb(state[rows], words[begin[rows] + position], length[rows] - position)
    return state


def _absorb(
    state: NDArray[np.uint64], word: NDArray[np.uint64], left: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """The states after the next words of keys, of which `left` bytes belong to the keys."""
    unused = (8 * np.maximum(8 - left, 0)).astype(np.uint64)
    word <<= unused
    word >>= unused
    word ^= state
    word += _GOLDEN
    return _mix(word)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser; changes what it is given."""
    spare = value >> np.uint64(30)
    value ^= spare
    value *= _MIX_A
    value ^= np.right_shift(value, np.uint64(27), out=spare)
    value *= _MIX_B
    value ^= np.right_shift(value, np.uint64(31), out=spare)
    return value


def draw_seed(seed: int, among: NDArray[np.uint64]) -> int:
    """The seed of hashes by which some samples are drawn among others.

    It depends on the user's seed and on the set of keys that are drawn among. With the user's seed alone, a
    draw among what an earlier one kept would go by the same hashes: of classes thinned to a tenth, of
    which only small hashes are left, it would take ten times its share.

    Args:
        seed: the user's.
        among: (N,) hashes of all keys of the set, by seed 0; their order does not matter.

    >>> draw_seed(0, hash_keys(["a", "b"])) == draw_seed(0, hash_keys(["b", "a"]))
    True
    """
    return derive(seed, "among", int(among.sum(dtype=np.uint64)))


def uniform(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Hashes as numbers in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
