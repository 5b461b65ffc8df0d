from __future__ import annotations

import json

import numpy as np
import pytest
from tars import write_tar

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.problems import problems

OK = "ok"


def read_cls(tmp_path, labels, **options):
    """Statuses, labels and names of samples with these `.cls` contents (None: no member)."""
    files = []
    for row, label in enumerate(labels):
        files.append((f"{row:03d}.jpg", b"x"))
        if label is not None:
            files.append((f"{row:03d}.cls", label))
    return open_samples([str(write_tar(tmp_path / "d" / "a.tar", files))], **options)


def read_json(tmp_path, contents, **options):
    files = []
    for row, content in enumerate(contents):
        files.append((f"{row:03d}.jpg", b"x"))
        if content is not None:
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            files.append((f"{row:03d}.meta.json", raw))
    return open_samples([str(write_tar(tmp_path / "d" / "a.tar", files))], **options)


def test_ids(tmp_path):
    labels = [b" 3\n", b"0", b"-1", b"100000", b"9" * 1000, b"stork", b"", None, b"\xff", b"1", b"+2"]
    samples = read_cls(tmp_path, labels)
    out = "label_out_of_range"
    assert samples.status.tolist() == [
        OK, OK, out, out, out, "unknown_label", "missing_label", "missing_label", "unknown_label", OK, OK,
    ]  # fmt: skip
    assert samples.label.tolist() == [3, 0, -1, -1, -1, -1, -1, -1, -1, 1, 2]
    assert samples.classes == ["0", "1", "2", "3"]


def test_a_number_of_many_digits_is_out_of_range(tmp_path):
    samples = read_cls(tmp_path, [b"0", b"9" * 900, b"-" + b"9" * 900])
    assert samples.status.tolist()[1:] == ["label_out_of_range"] * 2


def test_names(tmp_path):
    samples = read_cls(tmp_path, [b"stork\n", "Möwe".encode(), b"stork", b"7", b"crane"])
    assert samples.classes == ["Möwe", "crane", "stork"]
    assert samples.label.tolist() == [2, 0, 2, -1, 1]
    assert samples.status.tolist() == [OK, OK, OK, "unknown_label", OK]


@pytest.mark.parametrize(
    ("labels", "classes"), [([b"1", b"a"], ["0", "1"]), ([b"1", b"a", b"b"], ["a", "b"])]
)
def test_half_of_the_labels_decides(tmp_path, labels, classes):
    assert read_cls(tmp_path, labels).classes == classes


def test_given_names(tmp_path):
    samples = read_cls(tmp_path, [b"b", b"1", b"2", b"-1", b"c", b"a"], classes=["b", "a"])
    assert samples.classes == ["b", "a"]
    assert samples.label.tolist() == [0, 1, -1, -1, -1, 1]
    assert samples.status.tolist() == [OK, OK, *["label_out_of_range"] * 2, "unknown_label", OK]


def test_a_stray_id_is_named(tmp_path):
    samples = read_cls(tmp_path, [b"0", b"1", b"50000", b"x"])
    assert samples.damage == (
        "the class id 50000 of key 002 makes 50001 classes, of which 3 occur; "
        "if it is wrong, name all classes with --classes",
    )
    assert samples.lost == 0
    assert problems(samples)[0] == samples.damage[0]
    assert read_cls(tmp_path, [b"0", b"999"]).damage == ()
    assert read_cls(tmp_path, [b"1000"]).damage != ()
    names = [str(number) for number in range(50_001)]
    assert read_cls(tmp_path, [b"0", b"50000"], classes=names).damage == ()


def test_classes_file_beside_the_shards(tmp_path):
    read_cls(tmp_path, [b"1", b"0"])
    (tmp_path / "d" / "classes.txt").write_text("zebra\nape\nunseen\n")
    assert open_samples([str(tmp_path / "d")]).classes == ["zebra", "ape", "unseen"]
    assert open_samples([str(tmp_path / "d" / "{a,a}.tar")]).classes == ["zebra", "ape", "unseen"]
    assert open_samples([str(tmp_path / "d")], classes=["x", "y"]).classes == ["x", "y"]
    assert open_samples([str(tmp_path / "d" / "a.tar")]).classes == ["zebra", "ape", "unseen"]


def test_json_fields(tmp_path):
    contents = [
        {"a": {"b": 2}}, {"a": {"b": 3.0}}, {"a": {"b": True}}, {"a": {"b": 2.5}}, {"a": 1}, {"a.b": 1}, None,
        b"{", b"\xff\xfe\xfd", b"[" * 200_000, b'{"a": {"b": ' + b"9" * 9000 + b"}}", b'{"a": {"b": NaN}}',
        b'{"a": {"b": "\\ud800"}}', {"a": {"b": None}}, [1], {"a": {"b": 10**30}}, b'{"a": {"b": 1e999}}',
    ]  # fmt: skip
    samples = read_json(tmp_path, contents, label_field="a.b")
    unknown, bad, missing = "unknown_label", "bad_json", "missing_label"
    assert samples.status.tolist() == [
        OK, OK, unknown, unknown, missing, OK, missing, bad, bad, bad, bad, unknown, unknown, missing,
        missing,
        "label_out_of_range", unknown,
    ]  # fmt: skip
    assert samples.label[[0, 1, 5]].tolist() == [2, 3, 1]
    assert samples.reading == {"label_field": "a.b"}


def test_groups(tmp_path):
    contents = [
        {"label": "waterbird", "place": "land"}, {"label": "waterbird", "place": "water"},
        {"label": "land", "place": 10}, {"label": "land", "place": 9}, {"label": "land"}, {"place": 9},
    ]  # fmt: skip
    samples = read_json(tmp_path, contents, label_field="label", group_field="label, place")
    assert samples.groups == ["land,9", "land,10", "waterbird,land", "waterbird,water"]
    assert samples.group.tolist() == [2, 3, 1, 0, -1, -1]
    assert samples.status.tolist() == [OK] * 4 + ["missing_group", "missing_label"]
    alone = read_json(tmp_path, contents, label_field="label", group_field="place")
    assert alone.groups == ["9", "10", "land", "water"]
    assert alone.group.tolist() == [2, 3, 1, 0, -1, 0]
    assert read_json(tmp_path, contents, label_field="label").group is None


def test_groups_beside_cls_members(tmp_path):
    files = [("a.jpg", b"x"), ("a.cls", b"1"), ("a.json", b'{"p": "q"}'), ("b.jpg", b"x"), ("b.cls", b"0")]
    samples = open_samples([str(write_tar(tmp_path / "a.tar", files))], group_field="p,label")
    assert (samples.groups, samples.group.tolist()) == (["q,1"], [0, -1])


def test_folders_have_neither(tmp_path):
    (tmp_path / "r/cat").mkdir(parents=True)
    (tmp_path / "r/cat/a.jpg").write_bytes(b"x")
    root = [str(tmp_path / "r")]
    with pytest.raises(UsageError, match="--label-field"):
        open_samples(root, label_field="a")
    with pytest.raises(UsageError, match="--group-field"):
        open_samples(root, group_field="label,place")
    for bad in ("", "a,,b", "a,a"):
        with pytest.raises(UsageError, match="field"):
            open_samples(root, group_field=bad)
    assert open_samples(root, group_field="label").groups == ["cat"]


def test_images_of_a_sample(tmp_path):
    files = [
        ("a.png", b"22"), ("a.v2.jpg", b"1"), ("a.cls", b"0"), ("b.v2.jpg", b"333"), ("b.cls", b"0"),
        ("c.cls", b"0"),
        ("d.jpg", b""), ("d.cls", b"0"), ("e.txt", b"0"), ("e.cls", b"0"),
    ]  # fmt: skip
    samples = open_samples([str(write_tar(tmp_path / "a.tar", files))])
    assert samples.status.tolist() == [OK, OK, "missing_image", "empty_image", "missing_image"]
    assert samples.image_size.tolist() == [2, 3, -1, 0, -1]
    assert (tmp_path / "a.tar").read_bytes()[samples.image_offset[1] :].startswith(b"333\0")
    assert samples.image_offset[2] == -1


def test_problems(tmp_path):
    samples = read_cls(tmp_path, [b"0"] * 5 + [None] * 3 + [b"x"])
    assert problems(samples, 2) == [
        "005: missing_label (shard a.tar)",
        "006: missing_label (shard a.tar)",
        "... and 2 more",
        "4 of 9 samples cannot be used: 3 missing_label, 1 unknown_label",
    ]
    assert problems(read_cls(tmp_path, [b"0"])) == []


def test_hint_when_no_label_is_found(tmp_path):
    samples = read_json(tmp_path, [{"y": 1}])
    assert samples.status.tolist() == ["missing_label"]
    assert "--label-field" in samples.hint
    assert "meta.json" in samples.hint
    assert not read_json(tmp_path, [{"y": 1}], label_field="y").hint


def test_no_images(tmp_path):
    with pytest.raises(DataError, match="no images"):
        open_samples([str(write_tar(tmp_path / "a.tar", [("a.cls", b"0")]))])


def test_many_ids_are_fine_in_a_large_set():
    from dprune_cli.io.labels import Values, resolve_classes

    values = Values({number: number for number in range(3)} | {150_000: 3})
    codes = np.zeros(150_001, np.int32)
    codes[5] = 3
    assert resolve_classes(codes, values, None)[0][5] == 150_000
    assert resolve_classes(codes[:9], values, None)[1][5] == "label_out_of_range"
