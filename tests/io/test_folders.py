from __future__ import annotations

import os

import numpy as np
import pytest
from tars import write_tar

from dprune_cli.core.errors import DataError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.folder_out import class_folders, safe_parts, unpack_images, write_images
from dprune_cli.io.folders import image_keys, scan_folder
from dprune_cli.io.tar_pack import ImageFiles, pack_images
from dprune_cli.io.tar_plan import Spans


def fill(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_scan(tmp_path):
    names = ["b/2.PNG", "b/1.jpg", "a/x/y.webp", "top.bmp", "a/no.txt", ".h/a.jpg", "a/.b.jpg", "s/t.tar"]
    root = fill(tmp_path / "r", names)
    (root / "a" / "loop").symlink_to(root)
    (root / "c").symlink_to(root / "a")
    (root / "b" / "3.jpg").symlink_to(root / "b" / "1.jpg")
    (root / "b" / "4.jpg").symlink_to(root / "gone.jpg")
    (root / "b" / "5.jpg").mkdir()
    os.mkfifo(root / "b" / "6.jpg")
    content = scan_folder(root)
    assert [(image.name, image.label, image.size) for image in content.images] == [
        ("a/x/y.webp", "a", 10), ("b/1.jpg", "b", 7), ("b/2.PNG", "b", 7), ("b/3.jpg", "b", 7),
        ("b/4.jpg", "b", -1),
        ("b/6.jpg", "b", -1), ("c/x/y.webp", "c", 10), ("top.bmp", None, 7),
    ]  # fmt: skip
    assert content.tars == ["s/t.tar"]


def test_a_linked_class_folder_outside_is_read(tmp_path):
    fill(tmp_path / "far", ["1.jpg", "in/2.jpg"])
    root = fill(tmp_path / "r", ["a/0.jpg"])
    (root / "b").symlink_to(tmp_path / "far")
    assert [image.name for image in scan_folder(root).images] == ["a/0.jpg", "b/1.jpg", "b/in/2.jpg"]


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a\0b", "", "/", "."])
def test_names_that_leave_are_refused(name):
    with pytest.raises(DataError, match="inside the output folder"):
        safe_parts(name)


def test_class_folders():
    assert class_folders(["a\\b", "n/a", "/etc"]) == ["a\\b", "n_a", "_etc"]
    for bad in (["."], [".."], [""], ["a\0"], ["n/a", "n_a"]):
        with pytest.raises(DataError, match="class"):
            class_folders(bad)


def image_files(samples, rows):
    paths = [samples.path(row) for row in rows]
    return ImageFiles(paths, [samples.keys[row] for row in rows], samples.label[rows])


def test_files_are_linked(tmp_path):
    root = fill(tmp_path / "r", ["cat/a.v1.jpg", "cat/x/b.PNG", "dog/c.jpg"])
    (root / "dog" / "d.jpg").symlink_to("c.jpg")
    samples = open_samples([str(root)])
    out = tmp_path / "out"
    assert write_images(image_files(samples, [0, 1, 2, 3]), out, samples.classes) == 4
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["cat/a.v1.jpg", "cat/x/b.PNG", "dog/c.jpg", "dog/d.jpg"]
    assert (out / "cat/x/b.PNG").samefile(root / "cat/x/b.PNG")
    assert not (out / "dog/d.jpg").is_symlink()
    assert (out / "dog/d.jpg").read_bytes() == b"dog/c.jpg"
    with pytest.raises(DataError, match="another sample"):
        write_images(image_files(samples, [0]), out, samples.classes)


def test_image_keys():
    names = ["a/x.0.jpg", "a/x.1.2.JPG", "a/x.jpg", "a/x.png", "a/y.v2.jpg", "b.c/x.0.jpg", "b.c/x.1.jpg"]
    keys = ["a/x_0", "a/x_1_2", "a/x", "a/x", "a/y", "b.c/x_0", "b.c/x_1"]
    assert image_keys(names) == keys
    assert image_keys(names[::-1]) == keys[::-1]
    assert image_keys(["x.0.jpg", "x.1.jpg", "x_1.jpg", ".h.jpg"]) == ["x_0", "x", "x_1", None]
    assert image_keys(["x.a.b.jpg", "x.a_b.jpg", "x.jpg"]) == ["x_a_b", "x_a_b", "x"]
    assert image_keys(["cat/x.0.jpg", "dog/x.0.jpg"]) == ["cat/x", "dog/x"]


def test_names_with_dots_keep_their_files(tmp_path):
    names = ["cat/IMG_2020.01.02.jpg", "cat/IMG_2020.01.03.jpg", "cat/deep/y.v1.JPG", "dog/x.0.jpg"]
    root = fill(tmp_path / "r", [*names, "dog/x.0.png", "dog/x.1.jpg"])
    samples = open_samples([str(root)])
    assert samples.keys == [
        *("cat/IMG_2020_01_02", "cat/IMG_2020_01_03", "cat/deep/y"),
        *("dog/x_0", "dog/x_0", "dog/x_1"),
    ]
    assert samples.status.tolist() == ["ok"] * 4 + ["duplicate_key", "ok"]
    rows = np.flatnonzero(samples.ok()).tolist()
    out = tmp_path / "out"
    write_images(image_files(samples, rows), out, samples.classes)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == [*names, "dog/x.1.jpg"]
    assert all((out / name).read_bytes() == name.encode() for name in written)
    (tmp_path / "packed").mkdir()
    pack_images(image_files(samples, rows), tmp_path / "packed")
    packed = open_samples([str(tmp_path / "packed")])
    assert packed.keys == [samples.keys[row] for row in rows]
    assert set(packed.status) == {"ok"}


def test_files_are_copied_where_links_are_impossible(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    root = fill(tmp_path / "r", ["cat/a.jpg"])
    samples = open_samples([str(root)])
    monkeypatch.setattr(os, "link", refuse)
    write_images(image_files(samples, [0]), tmp_path / "out", samples.classes)
    assert (tmp_path / "out/cat/a.jpg").read_bytes() == b"cat/a.jpg"
    assert not (tmp_path / "out/cat/a.jpg").samefile(root / "cat/a.jpg")


def unpack(tmp_path, files, classes, labels):
    path = write_tar(tmp_path / "in" / "a.tar", files)
    samples = open_samples([str(path)], classes=classes)
    spans = Spans([path], samples.shard, samples.offset, samples.size, samples.keys)
    return unpack_images(spans, np.array(labels), tmp_path / "out", classes)


def test_shards_are_unpacked(tmp_path):
    files = [("cat/a.jpg", b"A"), ("cat/a.cls", b"0"), ("/abs.seg.PNG", b"B"), ("/abs.x.jpg", b"C")]
    files.append(("train/cat/c.bmp", b"D"))
    assert unpack(tmp_path, files, ["cat", "n/a"], [0, 1, 0]) == 3
    out = tmp_path / "out"
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == {"cat/a.jpg": b"A", "n_a/abs.png": b"B", "cat/train/cat/c.bmp": b"D"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("../evil.jpg", b"A")], "inside the output folder"),
        ([("x/../../evil.jpg", b"A")], "inside the output folder"),
        ([("a.cls", b"0"), ("b.jpg", b"A")], "no image"),
        ([("cat/a.jpg", b"A"), ("a.jpg", b"A")], "another sample"),
        ([("q.jpg", b"A"), ("q.jpg/z.jpg", b"A")], "another sample"),
    ],
)
def test_unpacking_refuses(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        unpack(tmp_path, files, ["cat"], [0, 0])
    assert not list(tmp_path.rglob("evil*"))
