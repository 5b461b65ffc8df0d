from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from tars import FORMATS, pairs, write_tar

from dprune_cli.core.errors import DataError
from dprune_cli.io.tar_header import END, make_header
from dprune_cli.io.tar_index import index_spans, index_tar, map_file
from dprune_cli.io.tar_samples import group_members

LONG = "folder/" * 20 + "x" * 90 + ".jpg"
LONGER = "d" * 120 + "/" + "é" * 200 + ".jpg"
NAMES = ["a.jpg", "a.cls", "cats/b.v2.jpg", "ünï/ç.jpg", "a/" * 60 + "fits-the-prefix.jpg", "b.c/d.jpg"]


def reference(path):
    """Name, first header, content, size: what `tarfile` says of the regular files."""
    with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
        return [
            (item.name, item.offset, item.offset_data, item.size)
            for item in archive.getmembers()
            if item.isreg() and item.sparse is None
        ]


def found(members):
    columns = (members.start.tolist(), members.data.tolist(), members.size.tolist())
    return list(zip(members.names, *columns, strict=True))


@pytest.mark.parametrize("mtime", [0, 1.5], ids=["whole", "fraction"])
@pytest.mark.parametrize("tar_format", FORMATS.values(), ids=FORMATS)
def test_same_as_tarfile(tmp_path, tar_format, mtime):
    names = NAMES if tar_format == tarfile.USTAR_FORMAT else [*NAMES, LONG, LONGER, LONGER + ".cls"]
    sizes = [0, 1, 511, 512, 513, 5000]
    files = [("dir/", b""), ("link.jpg -> a.jpg", b"")]
    files += [(name, b"x" * sizes[place % len(sizes)]) for place, name in enumerate(names)]
    path = write_tar(tmp_path / "a.tar", [*files, ("z.jpg -> /etc/passwd", b"")], tar_format, mtime)
    members = index_tar(path)
    assert found(members) == reference(path)
    assert len(members) == len(names)
    assert members.damage is None


@pytest.mark.parametrize("tar_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("mtime", [0, 2.25], ids=["whole", "fraction"])
def test_dense_windows_say_the_same(tmp_path, tar_format, mtime):
    rng = np.random.default_rng(3)
    files = []
    for row in range(1500):
        content = rng.bytes(int(rng.integers(0, 3000))) if row % 7 else b"path=size=0000 ustar"
        files.append((f"k/{row}.jpg", content))
        if row % 400 == 3:
            files += [("some/", b""), (f"k/{row}.lnk -> x", b""), (f"{'n' * 60}/{'m' * 90}{row}.cls", b"1")]
        if row == 700:
            files.append(("big.jpg", bytes(1_500_000)))
        if tar_format != tarfile.USTAR_FORMAT and row % 500 == 9:
            files.append((f"{row}{LONGER}", b"z"))
    path = write_tar(tmp_path / "a.tar", files, tar_format, mtime)
    members = index_tar(path)
    assert found(members) == reference(path)
    assert members.damage is None


def test_every_cut_keeps_what_is_whole(tmp_path):
    files = [(f"k{row}.jpg", b"x" * size) for row, size in enumerate([0, 1, 512, 700, 1500])]
    path = write_tar(tmp_path / "a.tar", [*files, (LONG, b"abc")], tarfile.PAX_FORMAT)
    whole, raw = index_tar(path), path.read_bytes()
    ends = whole.end.tolist()
    for cut in [*range(0, ends[-1] + 1, 97), *ends, *[end - 1 for end in ends], *whole.start.tolist()]:
        path.write_bytes(raw[:cut])
        members = index_tar(path)
        expected = sum(end <= cut for end in ends)
        assert found(members) == found(whole)[:expected], cut
        assert members.damage is not None, cut


def test_every_damaged_header_is_noticed(tmp_path):
    files = pairs(("a", b"x" * 600, "0"), ("b", b"y" * 100, "1"), ("c", b"", "1"))
    path = write_tar(tmp_path / "a.tar", files)
    whole, raw = index_tar(path), path.read_bytes()
    for place, start in enumerate(whole.start.tolist()):
        for byte in (0, 100, 124, 130, 136, 148, 156, 257, 400):
            broken = bytearray(raw)
            broken[start + byte] ^= 0x03
            path.write_bytes(broken)
            members = index_tar(path)
            assert found(members) == found(whole)[:place], (place, byte)
            assert members.damage is not None


def test_damage_in_a_dense_shard(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(f"{row}.jpg", b"x" * 100) for row in range(1000)])
    raw = bytearray(path.read_bytes())
    raw[1024 * 700 + 126] ^= 1
    path.write_bytes(raw)
    members = index_tar(path)
    assert members.names == [f"{row}.jpg" for row in range(700)]
    assert members.damage == f"has a damaged header at byte {1024 * 700}"


@pytest.mark.parametrize("raw", [b"", b"no tar at all", b"x" * 4000, bytes(range(256)) * 8])
def test_what_is_no_tar(tmp_path, raw):
    path = tmp_path / "a.tar"
    path.write_bytes(raw)
    members = index_tar(path)
    assert len(members) == 0
    assert members.damage in ("is empty", "is no tar archive")


def test_an_empty_archive_is_not_damaged(tmp_path):
    path = write_tar(tmp_path / "a.tar", [])
    assert len(index_tar(path)) == 0
    assert index_tar(path).damage is None


def test_compressed(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(DataError, match="compressed"):
        index_tar(path)
    with pytest.raises(DataError, match="cannot be read"):
        index_tar(tmp_path / "absent.tar")


def test_signed_checksums_and_binary_sizes(tmp_path):
    content = b"x" * 600
    head = bytearray(make_header("é.jpg", len(content)))
    head[124:136] = b"\x80" + len(content).to_bytes(11, "big")
    head[148:156] = b" " * 8
    signed = sum(head) - 256 * sum(byte > 127 for byte in head)
    head[148:156] = b"%06o\0 " % signed
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(head) + content.ljust(1024, b"\0") + END)
    assert found(index_tar(path)) == [("é.jpg", 0, 512, 600)] == reference(path)


def test_a_size_of_twelve_digits(tmp_path):
    head = bytearray(make_header("a.jpg", 0))
    head[124:136] = b"000000001000"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(head) + bytes(512) + make_header("b.jpg", 0) + END)
    assert found(index_tar(path)) == [("a.jpg", 0, 512, 512), ("b.jpg", 1024, 1536, 0)] == reference(path)


def test_pax_sizes_and_defaults(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as archive:
        item = tarfile.TarInfo("a.jpg")
        item.size, item.pax_headers = 700, {"size": "700"}
        archive.addfile(item, io.BytesIO(bytes(700)))
        archive.addfile(tarfile.TarInfo("b.jpg"))
    assert found(index_tar(path)) == reference(path)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"path": "all.jpg"}) as archive:
        archive.addfile(tarfile.TarInfo("b.jpg"))
    assert found(index_tar(path)) == reference(path)


def test_sparse_files_are_no_samples(tmp_path):
    path = tmp_path / "a.tar"
    head = bytearray(make_header("s.jpg", 512))
    head[156:157], head[483:495] = b"S", b"%011o\0" % 512
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path.write_bytes(bytes(head) + bytes(512) + make_header("b.jpg", 1) + b"x".ljust(512, b"\0") + END)
    members = index_tar(path)
    assert found(members) == [("b.jpg", 1024, 1536, 1)]
    record = b"22 GNU.sparse.major=1\n"
    pax = bytearray(make_header("p", len(record)))
    pax[148:157] = b" " * 8 + b"x"
    pax[148:156] = b"%06o\0 " % sum(pax)
    body = record.ljust(512, b"\0")
    path.write_bytes(bytes(pax) + body + make_header("s.jpg", 0) + make_header("b.jpg", 0) + END)
    assert index_tar(path).names == ["b.jpg"]


@pytest.mark.parametrize("name", ["a.jpg", "é" * 50, LONG, LONGER, "p/" * 70 + "name.jpg", "x" * 101])
def test_headers_of_ours_are_read_by_tarfile(tmp_path, name):
    path = tmp_path / "a.tar"
    path.write_bytes(make_header(name, 3) + b"abc".ljust(512, b"\0") + END)
    with tarfile.open(path) as archive:
        (item,) = archive.getmembers()
        assert (item.name, item.size, item.mtime, item.mode, item.uid) == (name, 3, 0, 0o644, 0)
        assert archive.extractfile(item).read() == b"abc"
    assert found(index_tar(path)) == reference(path)


def test_spans(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", pairs(("a", b"x", "0"), ("b", b"y" * 600, "1")), tarfile.PAX_FORMAT, 0.5
    )
    whole = index_tar(path)
    buffer = map_file(path)
    start, end = whole.start.tolist(), whole.end.tolist()
    part = index_spans(buffer, [(start[2], end[3]), (start[0], end[1])])
    assert found(part) == [*found(whole)[2:], *found(whole)[:2]]
    assert part.damage is None
    assert part.part[1] != part.part[2]
    for begin, after in (
        (start[0] + 512, end[1]),
        (start[0], end[0] + 512),
        (0, 10**9),
        (3, 515),
        (end[3], end[3] + 512),
    ):
        wrong = index_spans(buffer, [(begin, after)])
        assert wrong.damage is not None or wrong.start.tolist() != start[:2], (begin, after)


def test_samples_follow_webdatasets_rule(tmp_path):
    files = [
        ("__meta__/m.jpg", b"0"), ("__index__", b"0"), ("README", b"0"), ("x/", b""),
        ("x/a.jpg", b"1" * 600), ("._a.jpg", b"2"), ("sub/", b""), ("x/a.JSON", b"{}"), ("x/a.v2.png", b"3"),
        ("x/b.cls", b"1"), ("x/b.tif", b""), ("b.c/d.v1.jpg", b"4"), ("b.c/d.seg.png", b"4"),
        ("b.c/d.x.cls", b"5"),
    ]  # fmt: skip
    path = write_tar(tmp_path / "a.tar", files)
    members = index_tar(path)
    samples = group_members(members)
    assert samples.keys == ["x/a", "x/b", "b.c/d"]
    names = members.names
    assert [names[place] for place in samples.image[[0, 2]]] == ["x/a.jpg", "b.c/d.v1.jpg"]
    assert samples.image.tolist()[1] == -1
    assert samples.image_field == ["jpg", "", "v1.jpg"]
    assert [place >= 0 and names[place] for place in samples.cls] == [False, "x/b.cls", "b.c/d.x.cls"]
    assert [place >= 0 and names[place] for place in samples.json] == ["x/a.JSON", False, False]
    assert not samples.scattered.any()
    first, last = names.index("x/a.jpg"), names.index("x/a.v2.png")
    assert samples.offset[0] == members.start[first]
    assert samples.offset[0] + samples.size[0] == members.end[last]
    assert samples.offset[1] == members.end[last]


def test_keys_that_come_back_are_scattered(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.cls", b"0"), ("c.jpg", b"3")])
    samples = group_members(index_tar(path))
    assert samples.keys == ["a", "b", "a", "c"]
    assert samples.scattered.tolist() == [True, False, True, False]


def test_a_link_inside_cuts_a_sample(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("a.png -> a.jpg", b""), ("a.cls", b"0")])
    assert group_members(index_tar(path)).scattered.tolist() == [True, True]


def test_a_member_twice(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("a.JPG", b"2"), ("b.jpg", b"")])
    assert group_members(index_tar(path)).repeated.tolist() == [True, False]


def test_against_webdataset(tmp_path):
    from webdataset.tariterators import group_by_keys, tar_file_expander

    names = [
        "a.jpg",
        "a.cls",
        "p.q/a.b.c",
        "README",
        "p.q/a.json",
        "z/__m__.jpg",
        "k.",
        "k.x",
        "__a.jpg",
        "a.png",
    ]
    path = write_tar(tmp_path / "a.tar", [(name, name.encode()) for name in names])
    with open(path, "rb") as stream:
        dataset = list(group_by_keys(tar_file_expander([{"url": "x", "stream": stream}], eof_value=None)))
    expected = [(item["__key__"], [key for key in item if key[:2] != "__"]) for item in dataset]
    samples = group_members(index_tar(path))
    assert samples.keys == [key for key, _ in expected]
    assert samples.fields == list(dict.fromkeys(field for _, fields in expected for field in fields))


def test_absurd_sizes_are_damage(tmp_path):
    path = tmp_path / "a.tar"
    for field in (b"\x80" + b"\xff" * 11, b"777777777777", b"-0000000001\0", b"\xff" * 12):
        head = bytearray(make_header("b.jpg", 0))
        head[124:136] = field
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        path.write_bytes(make_header("a.jpg", 0) + bytes(head) + bytes(2048))
        members = index_tar(path)
        assert members.names == ["a.jpg"]
        assert members.damage is not None


@pytest.mark.parametrize("filling", [0, 512, 10_240])
def test_an_archive_appended_to_another_is_no_silent_loss(tmp_path, filling):
    first, second = tmp_path / "a.tar", tmp_path / "b.tar"
    write_tar(first, pairs(("a", b"one", "0"), ("b", b"two", "1")))
    write_tar(second, pairs(("c", b"three", "2")))
    both = tmp_path / "both.tar"
    both.write_bytes(first.read_bytes() + b"\0" * filling + second.read_bytes())
    members = index_tar(both)
    assert len(members.names) == len(reference(both)) == 4
    assert "goes on after its end-of-archive mark" in members.damage
