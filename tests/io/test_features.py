from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import KEYS, LABELS, make_logits, write

from dprune_cli.core.errors import DataError
from dprune_cli.io.features import read_features, recorded_keys, write_features


def make_features():
    return {
        "key": list(KEYS),
        "label": LABELS.tolist(),
        "features": np.arange(20.0).reshape(5, 4).tolist(),
        "logits": make_logits(1)[0].tolist(),
    }


def test_what_is_written_is_read(tmp_path):
    features, logits = np.arange(20, dtype=np.float32).reshape(5, 4), make_logits(1)[0]
    write_features(tmp_path / "f.parquet", KEYS, LABELS, features, logits, epochs=12)
    assert pq.read_schema(tmp_path / "f.parquet").field("features").type == pa.list_(pa.float32(), 4)
    place = np.argsort(KEYS)
    for known, order in ((None, place), (["e", "a", "d", "c", "b"], [3, 1, 4, 0, 2])):
        found = read_features(tmp_path / "f.parquet", known, None if known is None else LABELS[order])
        assert found.keys == [KEYS[row] for row in order]
        assert found.labels.tolist() == LABELS[order].tolist() and found.labels.dtype == np.int32
        assert np.array_equal(found.features, features[order]) and found.features.dtype == np.float32
        assert np.array_equal(found.logits, logits[order])


def test_groups_and_names_of_classes_are_written_too(tmp_path):
    features, logits = np.arange(20, dtype=np.float32).reshape(5, 4), make_logits(1)[0]
    groups, classes = ["w", None, "l", "w", "l"], ["ä", "b", "c"]
    write_features(tmp_path / "f.parquet", KEYS, LABELS, features, logits, 1, groups, classes)
    found = read_features(tmp_path / "f.parquet")
    assert found.keys == ["a", "b", "c", "d", "e"] and found.groups == ["l", "w"]
    assert found.group.tolist() == [-1, 0, 1, 0, 1] and found.group.dtype == np.int32
    assert found.classes == classes and found.count_classes() == 3
    write_features(tmp_path / "f.parquet", KEYS, LABELS, features, logits, 1)
    found = read_features(tmp_path / "f.parquet")
    assert found.group is None and found.groups == [] and found.classes == []
    assert pq.read_schema(tmp_path / "f.parquet").names == ["key", "label", "features", "logits"]


def test_groups_of_other_tools(tmp_path):
    for values, kind, groups in (
        ([10, 9, 10, None, 9], pa.int16(), ["9", "10"]),
        (["y", "x", "y", None, "x"], pa.dictionary(pa.int8(), pa.string()), ["x", "y"]),
        (["y", "x", "y", None, "x"], pa.large_string(), ["x", "y"]),
    ):
        found = read_features(write(tmp_path / "f.parquet", {**make_features(), "group": values}, group=kind))
        assert found.groups == groups
        assert found.group.tolist() == [0, 1, 1, 0, -1]  # a b c d e
    columns = {**make_features(), "group": [0.5] * 5}
    with pytest.raises(DataError, match="column 'group' holds double, neither names nor whole numbers"):
        read_features(write(tmp_path / "f.parquet", columns))


def test_how_many_classes_there_are(tmp_path):
    columns = make_features()
    assert read_features(write(tmp_path / "f.parquet", columns)).count_classes() == 3
    columns["logits"] = [[0.0] * 7] * 5
    assert read_features(write(tmp_path / "f.parquet", columns)).count_classes() == 7
    del columns["logits"]
    assert read_features(write(tmp_path / "f.parquet", columns)).count_classes() == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("{", "the class names in its metadata are not ours"),
        ('{"a": 1}', "the class names in its metadata are not ours"),
        ("[1, 2, 3]", "the class names in its metadata are not ours"),
        ('["a", "b"]', "its 2 class names do not fit its labels or logits"),
        ('["a", "b", "c", "d"]', "its 4 class names do not fit its labels or logits"),
    ],
)
def test_names_of_classes_that_are_none(tmp_path, names, message):
    path = write(tmp_path / "f.parquet", make_features())
    table = pq.read_table(path).replace_schema_metadata({"dprune_classes": names})
    pq.write_table(table, path)
    with pytest.raises(DataError, match=rf"f\.parquet: {message}"):
        read_features(path)


def test_logits_are_optional(tmp_path):
    columns = make_features()
    del columns["logits"]
    found = read_features(write(tmp_path / "f.parquet", columns))
    assert found.logits is None and found.features.shape == (5, 4)


BAD = {
    "twice": ("key", 1, "c", "key 'c' stands there twice"),
    "unknown": ("key", 1, "zebra", "key 'zebra' is not among the samples"),
    "label": ("label", 4, 1, "key 'd' has label 1, but the sample has 2"),
    "null label": ("label", 4, None, "column 'label' lacks a value in 1 rows"),
    "null key": ("key", 4, None, "column 'key' lacks a value in 1 rows"),
    "nan": ("features", 3, [0.0, 1.0, float("nan"), 2.0], "'features' holds NaN or infinity, first in row 3"),
    "inf": ("logits", 2, [0.0, float("-inf"), 2.0], "'logits' holds NaN or infinity, first in row 2"),
    "null": ("features", 0, None, "column 'features' lacks a value in 1 rows"),
    "shorter": ("features", 0, [1.0], "column 'features' have different lengths"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    column, row, value, message = BAD[name]
    columns = make_features()
    columns[column][row] = value
    path = write(tmp_path / "f.parquet", columns)
    with pytest.raises(DataError, match=rf"f\.parquet: .*{message}") as error:
        read_features(path, KEYS, LABELS)
    assert "\n" not in str(error.value)


def test_keys_of_data_that_are_missing(tmp_path):
    path = write(tmp_path / "f.parquet", make_features())
    with pytest.raises(DataError, match=r"key 'f' has no features \(2 samples like this\)"):
        read_features(path, [*KEYS, "f", "g"], np.array([*LABELS, 1, 1], np.int32))


def test_labels_have_logits(tmp_path):
    columns = make_features()
    columns["logits"] = [row[:2] for row in columns["logits"]]
    with pytest.raises(DataError, match="label 2 has no logit; there are 2"):
        read_features(write(tmp_path / "f.parquet", columns))
    columns = make_features()
    columns["label"][0] = -3
    with pytest.raises(DataError, match="label -3 is negative"):
        read_features(write(tmp_path / "f.parquet", columns))


def test_wrong_columns(tmp_path):
    for name, values, message in (
        ("features", ["x"] * 5, "column 'features' holds string, not lists of numbers"),
        ("label", ["x"] * 5, "column 'label' holds string, not whole numbers"),
        ("key", [1, 2, 3, 4, 5], "column 'key' holds int64, not text"),
    ):
        with pytest.raises(DataError, match=message):
            read_features(write(tmp_path / "f.parquet", {**make_features(), name: values}))
    for name in ("key", "label", "features"):
        columns = make_features()
        del columns[name]
        with pytest.raises(DataError, match=f"there is no column '{name}'"):
            read_features(write(tmp_path / "f.parquet", columns))


def test_no_file_no_parquet_no_rows(tmp_path):
    with pytest.raises(DataError, match=r"none\.parquet: there is no such file"):
        read_features(tmp_path / "none.parquet")
    (tmp_path / "f.parquet").write_bytes(b"text")
    with pytest.raises(DataError, match=r"f\.parquet: this is no Parquet file"):
        read_features(tmp_path / "f.parquet")
    path = write(
        tmp_path / "f.parquet",
        {"key": [], "label": [], "features": []},
        key=pa.string(),
        label=pa.int32(),
        features=pa.list_(pa.float32()),
    )
    for known in (None, KEYS):
        with pytest.raises(DataError, match=r"f\.parquet: there is not one row in it"):
            read_features(path, known, None if known is None else LABELS)


def test_keys_alone(tmp_path):
    columns = make_features()
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    assert recorded_keys(tmp_path / "f.parquet") == set(columns["key"])
