from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import Raw, damage, edits

from dprune_cli.core.errors import DataError, DpruneError
from dprune_cli.io.class_names import names_in_stream, read_classes, stream_head
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.table import read_table, write_table

FEW_AND_MANY = pytest.mark.parametrize("cases", [25, pytest.param(1500, marks=pytest.mark.slow)])

ODD = (
    b"", b"null", b"[]", b"{", b'{"label":}', b"[" * 100_000, b'{"label":' * 50_000, b'{"label":1e999}',
    b'{"label":' + b"9" * 5000 + b"}", b'{"label":-' + b"9" * 40 + b"}", b'{"label":NaN}',
    b'{"label":Infinity}',
    b'{"label":"\\ud800"}', b'{"label":"\\u0000"}', b'{"label":1,"label":"a"}', b'{"label":{"x":1}}',
    b'{"label":[1]}', b'{"label":true}', b'{"label":1.0}', b'{"label":1.5}', b'{"label":" "}',
    b'{"label":"\xff"}',
    b'\xef\xbb\xbf{"label":1}', '{"label":"a"}'.encode("utf-16"), '{"label":3}'.encode("utf-32"),
    b'{"label":"\x1b[2J"}', b'{"label":"../x"}', b'{"label":"' + b"x" * 2000 + b'"}', b'{"label":2147483648}',
    b'{"label":99999}', b'{"label":"1"}', b'{"a":{"b":"c"},"a.b":2}', b'{"a":{"b":{}}}',
)  # fmt: skip
leaf = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(("cat", "dog", "1", " 2 ", "", "\udc80")),
)  # fmt: skip
key = st.sampled_from(("label", "place", "a", "b", "a.b", "", "\ud800"))
value = st.recursive(
    leaf,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(key, inner, max_size=3)),
    max_leaves=8,
)
sane = st.dictionaries(key, value, max_size=4).map(lambda found: json.dumps(found).encode("utf-8"))
jsons = st.one_of(
    st.sampled_from(ODD),
    sane,
    sane,
    st.builds(damage, sane, edits),
    st.builds(lambda found: json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogatepass"), value),
    st.binary(max_size=20),
)
labels = st.one_of(
    st.sampled_from(
        (b"0", b"1", b"cat", b"-1", b"+7", b" 3\n", b"", b"\xff", b"9" * 5000, b"99999", b"\xef\xbb\xbf1")
    ),
    st.sampled_from(
        (b"\x1b[2J", b"a\nb", b"a\0b", b"../../x", b"CON", b"x" * 2000, "\u2028".encode(), b"1.0", b"1_0")
    ),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=8),
)
samples = st.lists(st.tuples(labels, jsons), min_size=1, max_size=8)


def write(path, found):
    with tarfile.open(path, "w") as archive:
        for number, (label, content) in enumerate(found):
            for suffix, raw in (("jpg", b"x"), ("cls", label), ("json", content)):
                item = tarfile.TarInfo(f"{number}.{suffix}")
                item.size = len(raw)
                archive.addfile(item, io.BytesIO(raw))


@FEW_AND_MANY
def test_labels_of_any_bytes_give_a_status(cases, fuzz, place):
    def check(found, label_field, group_field, classes):
        write(place / "a.tar", found)
        options = {"label_field": label_field, "group_field": group_field, "classes": classes}
        try:
            read = open_samples([str(place / "a.tar")], **options)
        except DpruneError:
            return
        assert len(read) == len(found)
        ok = read.ok()
        assert (read.label[ok] >= 0).all() and (read.label[ok] < len(read.classes)).all()
        assert read.group is None or (read.group[ok] >= 0).all()
        assert len(read.classes) <= 100_000 and len(set(read.classes)) == len(read.classes)
        write_table(read.table(), str(place / "t.parquet"))
        again = read_table(str(place / "t.parquet"))
        assert again.meta.classes == read.classes and again.meta.groups == read.groups
        assert np.array_equal(again.ok(), ok)

    fields = st.sampled_from((None, "label", "a.b", "a", "place", ""))
    groups = st.sampled_from((None, None, "place", "label,place", "a.b,label", "a,a", ","))
    fuzz(check, cases, samples, fields, groups, st.sampled_from((None, None, ["cat", "dog", "1"])))


@FEW_AND_MANY
def test_class_names_in_any_head_of_a_stream_are_names_or_nothing(cases, fuzz):
    heads = st.one_of(
        st.builds(damage, st.just(stream_head(["cat", "a" * 600, "é"])), edits),
        st.lists(st.text(max_size=5), min_size=1, max_size=4).map(stream_head),
    ).map(Raw)

    def check(raw):
        names = names_in_stream(raw)
        if names is not None:
            assert all(isinstance(name, str) and name.encode() is not None for name in names)

    fuzz(check, cases // 2, heads)


@FEW_AND_MANY
def test_a_file_of_class_names_is_read_or_refused(cases, fuzz, place):
    def check(raw):
        path = place / "classes.txt"
        path.write_bytes(raw)
        try:
            names = read_classes(path)
        except DataError:
            return
        assert names and all(names) and len(set(names)) == len(names)
        write(place / "a.tar", [(names[0].encode(), b"{}")])
        try:
            read = open_samples([str(place / "a.tar")])
        except DpruneError:
            return
        write_table(read.table(), str(place / "t.parquet"))

    text = st.text("ab\n\r\t \0\x1b\x85\u2028é", max_size=12).map(str.encode)
    fuzz(check, cases // 3, st.one_of(text, st.binary(max_size=12)))
