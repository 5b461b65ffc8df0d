from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dprune_cli.core.seeds import derive
from dprune_cli.io.keys import draw_seed, hash_keys, split_name, uniform

MASK = 2**64 - 1
KEYS = [
    "",
    "a",
    "b",
    "ab",
    "ba",
    "1234567",
    "12345678",
    "123456789",
    "train/cat/0001",
    "Zürich/été",
    "x" * 41,
    "a\0",
]


def slow_mix(value: int) -> int:
    """The finaliser of splitmix64."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def slow_hash(key: str, seed: int) -> int:
    """One key at a time, in Python integers."""
    raw, golden = key.encode(), 0x9E3779B97F4A7C15
    state = slow_mix((derive(seed, "key") + len(raw) * golden) & MASK)
    for start in range(0, len(raw), 8):
        word = int.from_bytes(raw[start : start + 8], "little")
        state = slow_mix(((state ^ word) + golden) & MASK)
    return state


@pytest.mark.parametrize("seed", [0, 7])
def test_hash_against_one_key_at_a_time(seed):
    assert hash_keys(KEYS, seed).tolist() == [slow_hash(key, seed) for key in KEYS]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_hash_depends_on_the_key_alone(kind):
    whole = hash_keys(KEYS, 1)
    array = pa.array(KEYS).cast(kind)
    chunked = pa.chunked_array([array.slice(0, 3), array.slice(3, 0), array.slice(3, 5), array.slice(8)])
    assert hash_keys(chunked, 1).tolist() == whole.tolist()
    assert hash_keys(array.slice(4, 5), 1).tolist() == whole[4:9].tolist()
    assert hash_keys(array.take(pa.array([5, 2])), 1).tolist() == whole[[5, 2]].tolist()


def test_no_collisions_and_no_relation_between_seeds():
    keys = [f"{number}" for number in range(20_000)] + [f"img_{number:08d}" for number in range(20_000)]
    one, two = hash_keys(keys, 0), hash_keys(keys, 1)
    assert len(np.unique(one)) == len(keys)
    assert abs(np.corrcoef(uniform(one), uniform(two))[0, 1]) < 0.025  # 5 standard deviations
    assert (one != two).all()


def test_uniform_is_uniform_in_the_half_open_interval():
    numbers = uniform(hash_keys([f"train/{number}" for number in range(20_000)]))
    counts = np.bincount((numbers * 20).astype(int), minlength=20)
    assert len(counts) == 20
    assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi-squared, 19 degrees of freedom
    assert uniform(np.array([0, MASK], np.uint64)).tolist() == [0.0, 1 - 2.0**-53]


def test_no_keys():
    assert hash_keys([]).tolist() == []
    assert hash_keys(pa.chunked_array([], pa.string())).dtype == np.uint64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("a.b.c", ("a", "b.c")),
        ("x.y/a.JPEG", ("x.y/a", "jpeg")),
        ("./a.cls", ("./a", "cls")),
        ("a.", ("a", "")),
        ("a", None),
        ("x.y/a", None),
        (".a.jpg", None),
        ("dir/", None),
        ("", None),
    ],
)
def test_split_name(name, expected):
    assert split_name(name) == expected


def test_a_draw_among_what_an_earlier_draw_kept_is_independent_of_it():
    keys = np.array([f"train/{number}" for number in range(20_000)])
    common = np.arange(20_000) < 10_000
    first = hash_keys(keys.tolist(), draw_seed(0, hash_keys(keys.tolist())))
    # Of the common samples half, of the rare ones a tenth: those with the smallest hashes.
    kept = np.concatenate(
        [
            np.flatnonzero(common)[np.argsort(first[common])[:5000]],
            np.flatnonzero(~common)[np.argsort(first[~common])[:1000]],
        ]
    )
    left = keys[kept].tolist()
    second = hash_keys(left, draw_seed(0, hash_keys(left)))
    chosen = kept[np.argsort(second)[:1200]]
    # A fifth of 1,000; with the bare hashes of the first draw it would be all of them.
    assert common[chosen].sum() == pytest.approx(1000, abs=5 * np.sqrt(1200 * 5 / 36))


def test_the_seed_of_a_draw_depends_on_the_set_alone():
    hashes = hash_keys(KEYS)
    assert draw_seed(3, hashes) == draw_seed(3, hashes[::-1]) != draw_seed(4, hashes)
    assert draw_seed(3, hashes) != draw_seed(3, hashes[1:])
