"""The files beside a pruned data set that say what it is, for the readers that look for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dprune_cli.core.progress import Progress
from dprune_cli.io.tar_plan import Shard
from dprune_cli.report.cards.croissant import describe_folder, describe_shards
from dprune_cli.report.cards.data_card import card_of_folder, card_of_shards
from dprune_cli.report.cards.subject import Subject
from dprune_cli.stages.output_contents import look_into_folder, look_into_shards
from dprune_cli.stages.select import Selection

CARD_FILE = "README.md"
CROISSANT_FILE = "croissant.json"
TIMM_FILE = "_info.json"


def write_cards(
    folder: Path, shards: Sequence[Shard] | None, *, found: Selection, progress: Progress
) -> None:
    """Describe a folder that was written: for people and the hub, as Croissant, and for timm.

    Args:
        folder: where the shards or images are.
        shards: the shards; None for an image folder.
        found: the selection that was written.
        progress: hears of the shards that are hashed.
    """
    subject = Subject.of(found)
    if shards is None:
        images = look_into_folder(folder)
        card, croissant = card_of_folder(subject, images), describe_folder(subject, images)
    else:
        kept = found.classes.coverage.kept
        contents = look_into_shards(
            folder, shards, subject.names, kept, progress, label_field=subject.label_field
        )
        card, croissant = card_of_shards(subject, contents), describe_shards(subject, contents)
        _write_json(folder / TIMM_FILE, timm_info(shards))
    (folder / CARD_FILE).write_text(card, encoding="utf-8", newline="\n")
    _write_json(folder / CROISSANT_FILE, croissant)


def timm_info(shards: Sequence[Shard]) -> dict[str, Any]:
    """What timm's reader of WebDataset shards wants to know of them: one split, `train`.

    >>> timm_info([Shard("000000.tar", 3, 4096)])["splits"]["train"]["shard_lengths"]
    [3]
    """
    split = {
        "name": "train",
        "num_samples": sum(shard.samples for shard in shards),
        "filenames": [shard.name for shard in shards],
        "shard_lengths": [shard.samples for shard in shards],
    }
    return {"splits": {"train": split}}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")
