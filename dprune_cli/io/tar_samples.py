"""From the members of a shard to its samples: WebDataset's rule that neighbours of one key belong together.

A sample is the span from its first to its last member. Files that WebDataset skips (hidden ones, names
without a dot, `__meta__`) and directories may stand inside that span and travel with it: every reader
passes over them. Anything else in between (links, devices, PAX defaults) cuts the sample, because a
link that is copied may point to something that was left behind; its fragments are then `scattered`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.io.keys import split_name
from dprune_cli.io.tar_index import Members

IMAGE_FIELDS = ("jpg", "jpeg", "png", "webp", "bmp")
_META = re.compile(r"__[^/]*__($|/)")
_NEVER = 99


@dataclass(frozen=True)
class TarSamples:
    """S samples of one shard.

    Attributes:
        members: the shard's members.
        keys: (S,) keys.
        offset, size: (S,) byte span of all members of a sample.
        image, cls, json: (S,) the member that is the image, the label, the metadata; -1 if there is none.
        image_field: (S,) the field of the image member, empty if there is none.
        scattered: (S,) the key comes back elsewhere in the shard.
        repeated: (S,) two members have the same name.
        fields: every field of the shard, in the order they come.
    """

    members: Members
    keys: list[str]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    image: NDArray[np.int64]
    cls: NDArray[np.int64]
    json: NDArray[np.int64]
    image_field: list[str]
    scattered: NDArray[np.bool_]
    repeated: NDArray[np.bool_]
    fields: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    def span(self, member: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(S,) first byte and length of the content of chosen members; -1 where there is none."""
        if not len(self.members):
            return member, member
        found = member >= 0
        return np.where(found, self.members.data[member], -1), np.where(found, self.members.size[member], -1)


def is_meta(name: str) -> bool:
    """Whether WebDataset takes a member for metadata of the shard and skips it.

    >>> is_meta("__index__"), is_meta("__meta__/a.json"), is_meta("__a.jpg")
    (True, True, False)
    """
    return name[:2] == "__" and _META.match(name) is not None


def image_rank(field: str) -> int:
    """Which field is the image of a sample: the smallest rank wins.

    >>> image_rank("jpg"), image_rank("png"), image_rank("v2.jpg") < image_rank("txt")
    (0, 2, True)
    """
    if field in IMAGE_FIELDS:
        return IMAGE_FIELDS.index(field)
    return len(IMAGE_FIELDS) if field.rpartition(".")[2] in IMAGE_FIELDS else _NEVER


def group_members(members: Members) -> TarSamples:
    """Group neighbouring members of one key into samples."""
    keys: list[str] = []
    firsts: list[int] = []
    chosen: list[int] = []
    chosen_fields: list[int] = []
    spelled: dict[str, int] = {}
    field_ids: dict[str, int] = {}
    last_key, last_part = None, -1
    for place, (name, part) in enumerate(zip(members.names, members.part.tolist(), strict=True)):
        # Most names have no dot in a folder; the shared rule costs three times as much.
        key, _, field = name.partition(".")
        field_id = spelled.get(field, -1)
        if field_id < 0 or not key or key[-1] == "/" or key[:2] == "__":
            split = split_name(name)
            if split is None or (name[:2] == "__" and is_meta(name)):
                continue
            key, lowered = split
            field_id = field_ids.setdefault(lowered, len(field_ids))
            if field and "/" not in field:
                spelled[field] = field_id
        if key != last_key or part != last_part:
            keys.append(key)
            firsts.append(len(chosen))
            last_key, last_part = key, part
        chosen.append(place)
        chosen_fields.append(field_id)
    fields = list(field_ids)
    places, field_id_of = np.array(chosen, np.int64), np.array(chosen_fields, np.int64)
    first = np.array(firsts, np.int64)
    lasts = np.append(first[1:], len(chosen))[: len(first)] - 1
    offset = members.start[places[first]]
    image = _best(places, first, np.array([image_rank(field) for field in fields], np.int64)[field_id_of])
    return TarSamples(
        members=members,
        keys=keys,
        offset=offset,
        size=members.end[places[lasts]] - offset,
        image=image,
        cls=_best(places, first, _ranks(fields, "cls")[field_id_of]),
        json=_best(places, first, _ranks(fields, "json")[field_id_of]),
        image_field=_field_of(image, places, field_id_of, fields),
        scattered=_come_back(keys),
        repeated=_repeated(first, field_id_of, len(fields), len(keys)),
        fields=fields,
    )


def _ranks(fields: list[str], wanted: str) -> NDArray[np.int64]:
    ranks = [0 if field == wanted else 1 if field.endswith("." + wanted) else _NEVER for field in fields]
    return np.array(ranks, np.int64)


def _best(place: NDArray[np.int64], first: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S,) the member of the smallest rank in every sample, the first of equals; -1 if none has a rank."""
    if not len(first):
        return np.empty(0, np.int64)
    order = rank * len(rank) + np.arange(len(rank))
    best = np.minimum.reduceat(order, first) % len(rank)
    return np.where(rank[best] < _NEVER, place[best], -1)


def _field_of(
    image: NDArray[np.int64], place: NDArray[np.int64], field_id: NDArray[np.int64], fields: list[str]
) -> list[str]:
    if not len(place):
        return []
    ids = field_id[np.minimum(np.searchsorted(place, image), len(place) - 1)].tolist()
    return [fields[number] if member >= 0 else "" for member, number in zip(image.tolist(), ids, strict=True)]


def _come_back(keys: list[str]) -> NDArray[np.bool_]:
    if len(set(keys)) == len(keys):
        return np.zeros(len(keys), bool)
    counts = Counter(keys)
    return np.array([counts[key] > 1 for key in keys], bool)


def _repeated(
    first: NDArray[np.int64], field_id: NDArray[np.int64], fields: int, samples: int
) -> NDArray[np.bool_]:
    twice = np.zeros(samples, bool)
    sample = np.repeat(np.arange(samples), np.diff(np.append(first, len(field_id))))
    pairs, counts = np.unique(sample * max(fields, 1) + field_id, return_counts=True)
    twice[pairs[counts > 1] // max(fields, 1)] = True
    return twice
