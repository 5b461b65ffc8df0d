from __future__ import annotations

import gc
import io
import json
import shutil
import subprocess
import tarfile
import warnings

import numpy as np
import pytest
from tars import pairs, write_tar

from dprune_cli.core.errors import DataError
from dprune_cli.io.class_names import names_in_stream, stream_head
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.tar_copy import stream_spans
from dprune_cli.io.tar_header import make_global
from dprune_cli.io.tar_pack import ImageFiles, stream_images
from dprune_cli.io.tar_plan import Spans

NAMES = ["cat", "weiße Maus", "a size=3 path=x GNU.sparse", "unseen"]
SAMPLES = [("a", b"AA", "0"), ("b", b"BBB", "2")]


def stream(tmp_path, kind, classes, rows=(0, 1)):
    sink = io.BytesIO()
    rows = np.array(rows, np.int64)
    if kind == "images":
        paths = []
        for row in rows:
            paths.append(tmp_path / f"{SAMPLES[row][0]}.jpg")
            paths[-1].write_bytes(SAMPLES[row][1])
        files = ImageFiles(paths, [SAMPLES[row][0] for row in rows], np.array([0, 2])[rows])
        shard = stream_images(files, sink, classes)
    else:
        path = write_tar(tmp_path / "source" / "s.tar", pairs(*SAMPLES))
        found = open_samples([str(path)])
        spans = Spans(
            [path], found.shard[rows], found.offset[rows], found.size[rows], [found.keys[row] for row in rows]
        )
        shard = stream_spans(spans, sink, classes)
    assert shard.size == len(sink.getvalue())
    return sink.getvalue()


def save(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return str(path)


@pytest.mark.parametrize("kind", ["images", "spans"])
@pytest.mark.parametrize("names", [NAMES, ["0", "1", "2", "3"], ["x" * 900 + str(row) for row in range(3)]])
def test_a_stream_carries_the_class_names(tmp_path, kind, names):
    raw = stream(tmp_path, kind, names)
    assert raw.endswith(stream(tmp_path, kind, ()))
    samples = open_samples([save(tmp_path / "new" / "s.tar", raw)])
    assert samples.classes == names
    assert samples.keys == ["a", "b"]
    assert samples.label.tolist() == [0, 2]
    assert samples.status.tolist() == ["ok", "ok"]
    assert samples.damage == ()
    place = int(samples.offset[0])
    assert raw[place : place + 5] == b"a.jpg"


@pytest.mark.parametrize("kind", ["images", "spans"])
def test_others_read_such_a_stream(tmp_path, kind):
    raw = stream(tmp_path, kind, NAMES)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        assert archive.getnames() == ["a.jpg", "a.cls", "b.jpg", "b.cls"]
        assert json.loads(archive.pax_headers["comment"]) == {"dprune": {"classes": NAMES}}
        assert archive.extractfile("b.jpg").read() == b"BBB"
    program = shutil.which("tar")
    if program is not None:
        done = subprocess.run([program, "-tf", "-"], input=raw, capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"a.jpg\na.cls\nb.jpg\nb.cls\n", b"")


def test_webdataset_reads_such_a_stream(tmp_path):
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = [{"url": "x", "stream": io.BytesIO(stream(tmp_path, "images", NAMES))}]
        found = list(group_by_keys(tar_file_expander(source, eof_value=None)))
        gc.collect()
    assert [(item["__key__"], item["jpg"], item["cls"]) for item in found] == [
        ("a", b"AA", b"0"),
        ("b", b"BBB", b"2"),
    ]


@pytest.mark.parametrize("kind", ["images", "spans"])
def test_a_stream_of_nothing_stays_a_tar(tmp_path, kind):
    with tarfile.open(fileobj=io.BytesIO(stream(tmp_path, kind, NAMES, rows=()))) as archive:
        assert archive.getnames() == []


@pytest.mark.parametrize(
    "comment",
    [
        b"4b825dc642cb6eb9a060e54bf8d69288fbee4904", b"{", b"\xff", b"[" * 100_000, b"[]", b"7", b"{}",
        b'{"dprune": 3}', b'{"dprune": {"classes": "ab"}}', b'{"dprune": {"classes": [1, 2]}}',
        b'{"dprune": {"classes": []}}', b'{"dprune": {"classes": ["a", "a"]}}',
        b'{"dprune": {"classes": ["\\ud800"]}}', b'{"dprune": {"classes": ["a\\u0000"]}}',
    ],
)  # fmt: skip
def test_comments_of_others_are_ignored(tmp_path, comment):
    raw = make_global(b"comment", comment) + stream(tmp_path, "images", ())
    assert names_in_stream(raw) is None
    samples = open_samples([save(tmp_path / "s" / "s.tar", raw)])
    assert samples.classes == ["0", "1", "2"]
    assert samples.keys == ["a", "b"]


def test_heads_that_are_cut_off():
    head = stream_head(NAMES)
    assert len(head) == 1024
    assert names_in_stream(head) == NAMES
    assert all(names_in_stream(head[:length]) is None for length in (0, 156, 512, 540))
    assert stream_head(()) == b""


def test_who_names_the_classes(tmp_path):
    path = save(tmp_path / "d" / "s.tar", stream(tmp_path, "images", NAMES))
    (tmp_path / "d" / "classes.txt").write_text("x\ny\nz\n")
    assert open_samples([path]).classes == NAMES
    assert open_samples([path], classes=["p", "q", "r"]).classes == ["p", "q", "r"]
    plain = str(write_tar(tmp_path / "d" / "t.tar", pairs(("c", b"C", "1"))))
    assert open_samples([plain]).classes == ["x", "y", "z"]
    assert open_samples([path, plain]).classes == NAMES
    save(tmp_path / "d" / "u.tar", stream(tmp_path, "images", NAMES[:3]))
    with pytest.raises(DataError, match=r"s\.tar and .*u\.tar: give classes different names"):
        open_samples([str(tmp_path / "d")])


def test_classes_files_of_several_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(["p", "q/deep", "r"]):
        write_tar(tmp_path / folder / "s.tar", pairs((f"k{number}", b"x", str(number))))
    (tmp_path / "classes.txt").write_text("far\n")
    for name in ("p", "q"):
        (tmp_path / name / "classes.txt").write_text("ape\nzebra\ncrane\nunseen\n")
    expected = ["ape", "zebra", "crane", "unseen"]
    words = (["p"], ["p/s.tar"], ["q"], ["p", "q", "r"], ["p/s.tar", "r/s.tar"], ["r", "q"], ["{p,q,r}"])
    found = [open_samples(list(data)).classes for data in words]
    assert found == [expected] * 7
    assert open_samples(["r"]).classes == ["0", "1", "2"]
    write_tar(tmp_path / "s" / "s.tar", pairs(("k", b"x", "far")))
    for data in (["r", "s"], ["{r,s}/s.tar"]):
        assert open_samples(data).classes == ["far"]
    (tmp_path / "r" / "classes.txt").write_text("zebra\nape\ncrane\nunseen\n")
    with pytest.raises(DataError, match=r"p/classes\.txt and r/classes\.txt: give classes different names"):
        open_samples(["p", "r"])
    assert open_samples(["p", "r"], classes=expected).classes == expected
