from __future__ import annotations

import io
import json
import os
import tarfile

import pyarrow as pa
import pytest
from bad_data import jpeg, members, write_members
from commands import QUICK, call, contents, must
from forged import forge
from guards import stay_inside

NAMES = ["../up.jpg", "../../../up.jpg", "x/../../../up.jpg", "/absolute/up.jpg", "//up.jpg", "./../up.jpg"]
CLASSES = [
    "../evil",
    "../../evil",
    "/etc/evil",
    "a/b",
    "CON",
    ".",
    "..",
    "...",
    "~",
    "evil.",
    "-rf",
    " evil",
    "$(evil)",
]
CLASSES += ["x" * 200, "evil\\..\\..\\evil", "evil\tx", "\u202eevil", "\x1b[2Jevil"]


def table_of(place, shard):
    table = place / "t.parquet"
    done = call("score", shard, "-m", "random", "-o", table, "--max-errors", "100%")
    assert done.code == 0, done.err
    return table


def unpack(table, out):
    return call(
        "select",
        table,
        "--by",
        "random",
        "--keep",
        "1.0",
        "--folder",
        out,
        "-o",
        table.parent / "selected.parquet",
    )


@pytest.mark.parametrize("name", NAMES)
def test_member_names_never_leave_the_folder(tmp_path, name):
    place = tmp_path / "a" / "b" / "c"
    shard = write_members(place / "s.tar", [(name, jpeg()), (name.replace("jpg", "cls"), b"0"), *members()])
    table, before = table_of(place, shard), contents(tmp_path)
    with stay_inside(place):
        done = unpack(table, place / "out")
    found = {path for path in contents(tmp_path) if path not in before and "selected" not in path}
    assert all(path.startswith(str(place / "out")) for path in found)
    assert not list(tmp_path.rglob("up.jpg")) or (
        (done.code == 0 and "/absolute" in name) or name == "//up.jpg"
    )
    assert done.code == 0 or (done.code == 3 and "inside the output folder" in done.line)


def test_links_and_devices_are_neither_followed_nor_unpacked(tmp_path):
    place, secret = tmp_path / "place", tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(seed=7))
    place.mkdir()
    with tarfile.open(place / "s.tar", "w") as archive:
        for number, (kind, target) in enumerate(
            (
                (tarfile.SYMTYPE, str(secret)),
                (tarfile.SYMTYPE, "../../secret.jpg"),
                (tarfile.LNKTYPE, str(secret)),
                (tarfile.CHRTYPE, ""),
                (tarfile.BLKTYPE, ""),
                (tarfile.FIFOTYPE, ""),
                (tarfile.DIRTYPE, ""),
            )
        ):
            item = tarfile.TarInfo(f"bad{number}.jpg")
            item.type, item.linkname, item.devmajor, item.devminor = kind, target, 1, 5
            archive.addfile(item)
            label = tarfile.TarInfo(f"bad{number}.cls")
            label.size = 1
            archive.addfile(label, io.BytesIO(b"0"))
        link = tarfile.TarInfo("0")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        for name, content in members():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    table = table_of(place, place / "s.tar")
    with stay_inside(place):
        done = unpack(table, place / "out")
    assert done.code == 0, done.err
    found = [path for path in (place / "out").rglob("*") if not path.is_dir()]
    assert len(found) == 6 and all(path.is_file() and not path.is_symlink() for path in found)
    assert sorted(path.read_bytes() for path in found) == sorted(jpeg(seed=number) for number in range(6))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("where", [pytest.param("member", marks=pytest.mark.slow), "metadata"])
def test_class_names_never_leave_the_folder(tmp_path, name, where):
    place = tmp_path / "a" / "b"
    if where == "member":
        shard = write_members(place / "s.tar", members(labels=(name, "plain")))
        table = table_of(place, shard)
    else:
        shard = write_members(place / "s.tar", members())
        table = forge(table_of(place, shard), place / "forged.parquet", classes=["plain", name])
    before = contents(tmp_path)
    with stay_inside(place):
        done = unpack(table, place / "out")
    assert done.code in (0, 3) and (done.code == 0 or done.line)
    found = [path for path in contents(tmp_path) if path not in before and "selected" not in path]
    assert len(found) == (6 if done.code == 0 else 0)
    folders = {os.path.relpath(os.path.dirname(path), place / "out") for path in found}
    assert all(os.sep not in folder and folder != ".." for folder in folders)
    assert "\x1b" not in done.err and "\u202e" not in done.err


@pytest.mark.parametrize("name", ["", "x" * 300, "a\0b"])
def test_class_names_that_no_folder_can_have_are_refused(tmp_path, name):
    shard = write_members(tmp_path / "s.tar", members())
    table = forge(table_of(tmp_path, shard), tmp_path / "forged.parquet", classes=["plain", name])
    done = unpack(table, tmp_path / "out")
    assert done.code in (1, 3) and done.line
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    "name", ["../../secret.jpg", "{root}/secret.jpg", "../secret.jpg", "a/../../secret.jpg", ""]
)
@pytest.mark.parametrize("output", ["--shards", "--folder"])
@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_a_shard_outside_the_data_is_not_read(tmp_path, scored, name, output, kind):
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    source = scored / f"{kind}.parquet"
    names = pa.array([name.format(root=tmp_path)] * 40).dictionary_encode()
    table = forge(source, tmp_path / "t.parquet", columns={"shard": names})
    out = tmp_path / "out"
    done = call(
        "select", table, "--by", "random", "--keep", "3", output, out, "-o", out.parent / "selected.parquet"
    )
    assert done.code == 3 and "does not name a file inside" in done.line
    assert not out.exists()


@pytest.mark.slow
def test_a_table_with_shards_elsewhere_does_not_lead_training_there(tmp_path, scored, image_folder):
    names = pa.array(["../../../../etc/passwd"] * 40).dictionary_encode()
    table = forge(scored / "folder.parquet", tmp_path / "t.parquet", columns={"shard": names})
    must("train", image_folder, "--table", table, "-o", tmp_path / "run", *QUICK)
    used = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "passwd" not in json.dumps(used)


def test_keys_outside_are_refused_for_an_image_folder_too(tmp_path, scored):
    keys = pa.array([f"../../up{number}" for number in range(40)])
    table = forge(scored / "folder.parquet", tmp_path / "a.parquet", columns={"key": keys})
    with stay_inside(tmp_path):
        done = unpack(table, tmp_path / "b" / "c" / "out")
    assert done.code == 3 and "inside the output folder" in done.line
    assert not list(tmp_path.rglob("up*"))
