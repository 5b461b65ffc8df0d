"""Shards, image folders and tables at URLs give what the same files give on a disk."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from tars import pairs, write_tar
from tiny_data import CLASSES, write_folder, write_shards

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data.spans import SpanReader
from dprune_cli.io.class_names import read_classes
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.remote import RemotePath
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import read_table, write_table


@pytest.fixture
def shards(s3, tmp_path):
    """A folder of two shards with `classes.txt`, here and there."""
    local = write_shards(tmp_path / "here/train")
    return local, s3.put(local, "train")


@pytest.fixture
def images(s3, tmp_path):
    """An image folder with a hidden file and one that is no image, here and there."""
    local = write_folder(tmp_path / "here/images")
    (local / "ant/.hidden.png").write_bytes(b"x")
    (local / "ant/notes.txt").write_text("x")
    (local / "bee/empty.png").write_bytes(b"")
    return local, s3.put(local, "images")


def same(there: Samples, here: Samples) -> None:
    """The tables are equal but for the root, which is recorded as typed."""
    assert there.table().data.equals(here.table().data)
    assert dataclasses.replace(there.table().meta, root=None) == dataclasses.replace(
        here.table().meta, root=None
    )
    assert (there.damage, there.lost, there.hint) == (here.damage, here.lost, here.hint)
    remote, local = SpanReader(there), SpanReader(here)
    for row in np.flatnonzero(here.ok()).tolist():
        assert remote.read(row) == local.read(row)


def test_a_folder_of_shards(shards):
    local, url = shards
    samples = open_samples([url])
    same(samples, open_samples([str(local)]))
    assert samples.classes == CLASSES and samples.table().meta.root == url


def test_the_root_is_recorded_as_typed(shards):
    assert open_samples([shards[1] + "/"]).table().meta.root == shards[1] + "/"


def test_one_shard_a_pattern_and_several(shards):
    local, url = shards
    for words in (["/000001.tar"], ["/{000000..000001}.tar"], ["/000001.tar", "/000000.tar"]):
        same(open_samples([url + word for word in words]), open_samples([f"{local}{word}" for word in words]))


def test_shards_of_two_folders_have_names_below_the_common_one(s3, shards, tmp_path):
    local, url = shards
    more = tmp_path / "here/more"
    write_tar(more / "x.tar", pairs(("new", b"x", "ant")))
    other = s3.put(more, "more")
    there, here = (
        open_samples([url, other], classes=CLASSES),
        open_samples([str(local), str(more)], classes=CLASSES),
    )
    assert there.shards == here.shards == ["more/x.tar", "train/000000.tar", "train/000001.tar"]
    same(there, here)


def test_an_image_folder(images):
    local, url = images
    same(open_samples([url]), open_samples([str(local)]))


def test_a_damaged_shard_keeps_what_precedes_the_damage(s3, shards):
    local, url = shards
    broken = (local / "000001.tar").read_bytes()[:-20_000]
    (local / "000001.tar").write_bytes(broken)
    s3.put(local, "train")
    there, here = open_samples([url]), open_samples([str(local)])
    assert there.lost == here.lost == 1
    same(there, here)


def test_what_is_not_there_is_one_line(s3, shards, tmp_path):
    s3.put(shards[0], "train")
    for url in ("s3://bucket/none", "s3://bucket/none.tar", "s3://bucket/trai", "s3://none/train"):
        with pytest.raises(DataError, match=f"^{url}: there is no such object or folder$"):
            open_samples([url])
    with pytest.raises(UsageError, match="in different storages"):
        open_samples([shards[1], str(shards[0])])


def test_each_shard_is_fetched_once_and_kept_for_the_next_command(s3, shards):
    open_samples([shards[1]])
    first = [request.path for request in s3.fetched(".tar")]
    assert first == ["/bucket/train/000000.tar", "/bucket/train/000001.tar"]
    s3.reset()
    samples = open_samples([shards[1]])
    SpanReader(samples).read(0)
    assert not s3.fetched(".tar")


def test_an_object_that_changed_is_read_anew(s3, shards, tmp_path):
    before = open_samples([shards[1]])
    write_tar(tmp_path / "new.tar", pairs(("other", b"x", "ant")))
    s3.put(tmp_path / "new.tar", "train/000001.tar")
    after = open_samples([shards[1]])
    assert "other" in after.keys and "other" not in before.keys


def test_a_small_cache_holds_its_bound_and_changes_nothing(s3, shards, tmp_path):
    local, url = shards
    bound = (local / "000000.tar").stat().st_size + 10
    same(open_samples([url], cache_bytes=bound), open_samples([str(local)]))
    kept = [entry.stat().st_size for entry in os.scandir(tmp_path / "cache/dprune/shards")]
    assert 0 < sum(kept) <= bound


def test_images_are_fetched_alone_where_the_cache_is_too_small_for_all_shards(s3, shards):
    samples = open_samples([shards[1]], cache_bytes=100_000)
    s3.reset()
    reader = SpanReader(samples)
    rows = np.arange(len(samples)).reshape(2, -1).T.ravel()
    for row in rows.tolist():
        reader.read(row)
    # The second shard was indexed last, and is still there.
    assert len(s3.fetched("000000.tar")) == 20 and s3.sent == int(
        samples.image_size[samples.shard == 0].sum()
    )


def test_a_shard_that_is_read_in_order_is_fetched_whole(s3, shards):
    samples = open_samples([shards[1]], cache_bytes=100_000)
    s3.reset()
    reader = SpanReader(samples)
    for row in np.flatnonzero(samples.shard == 0).tolist():
        reader.read(row)
    assert len(s3.fetched("000000.tar")) == 16


def test_a_folder_that_was_not_uploaded_to_its_end_is_refused(s3, shards):
    s3.client.put_object(Bucket="bucket", Key="train/.dprune-unfinished", Body=b"")
    with pytest.raises(DataError, match="s3://bucket/train: was not uploaded to its end"):
        open_samples([shards[1]])


def test_tables_are_read_from_an_object_and_from_a_folder_of_parts(s3, shards, tmp_path):
    table = open_samples([str(shards[0])]).table()
    for name, rows in (("parts/a", slice(0, 15)), ("parts/b", slice(15, 40)), ("parts/deep/c", slice(0, 9))):
        part = dataclasses.replace(table, data=table.data[rows])
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_table(part, f"{tmp_path / name}.parquet")
    s3.put(tmp_path / "parts", "parts")
    assert read_table("s3://bucket/parts/a.parquet").data.equals(table.data[0:15])
    assert read_table("s3://bucket/parts").data.equals(table.data)
    with pytest.raises(DataError, match="s3://bucket/none: there is no such object"):
        read_table("s3://bucket/none")
    with pytest.raises(DataError, match=r"s3://bucket/train/000000.tar: this is no Parquet file"):
        read_table("s3://bucket/train/000000.tar")


def test_class_names_of_the_user_are_read_from_a_url(s3, tmp_path):
    (tmp_path / "names.txt").write_text("d\nc\nb\na\n")
    assert read_classes(s3.put(tmp_path / "names.txt", "names.txt")) == ["d", "c", "b", "a"]


def test_a_shard_is_named_by_its_url(shards):
    assert open_samples([shards[1]]).path(0) == RemotePath(f"{shards[1]}/000000.tar")
