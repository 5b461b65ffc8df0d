"""Galleries of samples, from images that are made on the spot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny_data import CLASSES, PLACES, write_folder, write_shards

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.progress import Silent
from dprune_cli.io.dataset import open_samples
from dprune_cli.report import pictures_section as module
from dprune_cli.report.blocks import Gallery, Warnings
from dprune_cli.report.pictures_section import pictures_section
from dprune_cli.stages.picture_choice import kinds_of_selection
from dprune_cli.stages.select import SelectRequest, select


def select_from(folder, keep="10", group_field=None):
    """40 samples in classes of 20, 12, 6 and 2; the score is the number of the row."""
    table = open_samples([str(folder)], group_field=group_field).table()
    table = table.with_columns(grade=np.arange(40, dtype=np.float32), pred=np.zeros(40, np.int32))
    meta = dataclasses.replace(table.meta, scores={"grade": {"keep_first": "high", "hard_end": "high"}})
    return select(table.with_meta(meta), SelectRequest(by="grade", keep=parse_budget(keep)), Silent())


def section_of(found, **options):
    return pictures_section(found.table, kinds_of_selection(found), **options)


def keys_of(gallery, name, kind):
    return [one.key for one in gallery.pictures if (one.name, one.kind) == (name, kind)]


def test_the_chosen_samples_with_what_is_known_of_them(tmp_path):
    found = select_from(write_folder(tmp_path / "images"))
    (gallery,) = section_of(found).blocks
    assert isinstance(gallery, Gallery) and gallery.names == CLASSES and gallery.caption == ""
    assert list(gallery.kinds) == ["hardest kept", "easiest dropped", "just kept", "just dropped"]
    keys = found.table.data["key"].to_pylist()
    assert keys_of(gallery, "dog", "hardest kept") == [keys[39], keys[38]]
    assert keys_of(gallery, "ant", "easiest dropped") == keys[:7]
    assert keys_of(gallery, "ant", "hardest kept") == []
    first = gallery.pictures[0]
    assert first.image.startswith(b"\xff\xd8") and first.media == "image/jpeg"
    (dog,) = [one for one in gallery.pictures if one.key == keys[39] and one.kind == "hardest kept"]
    assert dict(dog.facts) == {"predicted": "ant", "kept": "yes", "grade": 39.0}


def test_broken_images_make_way_for_the_next_ones(tmp_path):
    folder = write_folder(tmp_path / "images")
    found = select_from(folder)
    for number in (0, 2):
        (folder / "ant" / f"{number:02}.png").write_bytes(b"broken")
    (gallery,) = section_of(found).blocks
    assert keys_of(gallery, "ant", "easiest dropped") == [
        f"ant/{number:02}" for number in (1, 3, 4, 5, 6, 7, 8)
    ]


def test_groups_have_a_gallery_of_their_own(tmp_path):
    found = select_from(write_shards(tmp_path / "images"), group_field="place")
    by_class, by_group = section_of(found).blocks
    assert (by_class.by, by_group.by, by_group.names) == ("class", "group", PLACES)
    some = by_group.pictures[0]
    assert some.name in PLACES and some.facts["label"] in CLASSES and "group" not in some.facts


@pytest.mark.parametrize("lost", ["folder", "images", "column"])
def test_without_data_one_sentence_says_why(tmp_path, lost):
    folder = write_folder(tmp_path / "images")
    found = select_from(folder)
    if lost == "folder":
        folder.rename(tmp_path / "moved")
    elif lost == "images":
        for path in folder.rglob("*.png"):
            path.write_bytes(b"broken")
    else:
        found = dataclasses.replace(found, table=found.table.without("shard"))
    (block,) = section_of(found).blocks
    assert isinstance(block, Warnings) and len(block.lines) == 1
    assert block.lines[0].startswith("No pictures are shown: ")
    if lost == "folder":
        (gallery,) = section_of(found, data=[str(tmp_path / "moved")]).blocks
        assert gallery.pictures


def test_where_there_is_little_room_the_worst_classes_are_shown(tmp_path, monkeypatch):
    found = select_from(write_folder(tmp_path / "images"))
    monkeypatch.setattr(module, "MOST_PICTURES", 5)
    (gallery,) = section_of(found).blocks
    # A class of which nothing was kept has a picture of the next kind.
    assert [(one.name, one.kind) for one in gallery.pictures] == [
        ("ant", "easiest dropped"),
        *((name, "hardest kept") for name in CLASSES[1:]),
    ]
    assert gallery.caption == "With so many classes there is room for 1 of the kinds of each."
    monkeypatch.setattr(module, "MOST_PICTURES", 3)
    worst = {"class": np.array([0.9, 0.2, np.nan, 0.1])}
    (gallery,) = section_of(found, worst=worst).blocks
    assert gallery.names == ["dog"] and gallery.caption.startswith(
        "1 of 4 classes are shown, the worst ones."
    )


@pytest.mark.parametrize("by", ["label", "pred", "group"])
def test_a_selection_by_an_id_shows_pictures_too(tmp_path, by):
    table = select_from(write_shards(tmp_path / "images"), group_field="place").table
    found = select(table, SelectRequest(by=by, keep=parse_budget("10")), Silent())
    gallery = section_of(found).blocks[0]
    assert isinstance(gallery, Gallery)
    assert set(gallery.pictures[0].facts) == {"group", "predicted", "kept", "grade"}
