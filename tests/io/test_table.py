from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.table import (
    DICTIONARY,
    ROW_GROUP,
    ScoreTable,
    TableMeta,
    check_keys,
    check_table_output,
    fingerprint,
    read_table,
    write_table,
)


def make_table(**columns):
    """Five rows, unequal classes, one that cannot be used."""
    data = {
        "key": pa.array(["a", "b", "c", "d", "e"]),
        "label": pa.array([0, 0, 0, 2, None], pa.int32()),
        "size": pa.array([10, 11, 12, 13, None], pa.int64()),
        "status": pa.array(["ok", "ok", "ok", "ok", "missing_label"]).dictionary_encode().cast(DICTIONARY),
        "el2n": pa.array([0.5, None, 0.25, 1.0, None], pa.float32()),
    }
    meta = TableMeta(classes=["cat", "dog"], scores={"el2n": {"keep_first": "high"}})
    return ScoreTable(pa.table({**data, **columns}), meta.with_step("score", seed=3, model=None), "t.parquet")


def standard_streams(monkeypatch, raw=b""):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: False, flush=lambda: None))
    return out


def test_round_trip_through_a_file(tmp_path):
    table, path = make_table(), str(tmp_path / "t.parquet")
    write_table(table, path)
    back = read_table(path)
    assert back.data.equals(table.data) and back.meta == table.meta and back.source == path
    assert back.data.schema.field("status").type == DICTIONARY
    assert back.meta.last_step("score") == {"seed": 3} and back.meta.last_step("quota") == {}
    assert read_table(path, columns=["label", "none"]).data.column_names == ["label"]


def test_the_same_table_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_table(make_table(), str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write_table(read_table(str(tmp_path / "one")), str(tmp_path / "three"))
    assert (tmp_path / "three").read_bytes() == (tmp_path / "one").read_bytes()


def test_how_it_is_stored(tmp_path):
    table = ScoreTable(pa.table({"key": [f"{n}" for n in range(ROW_GROUP + 5)]}), TableMeta())
    write_table(table, str(tmp_path / "t"))
    stored = pq.ParquetFile(tmp_path / "t").metadata
    assert [stored.row_group(n).num_rows for n in range(stored.num_row_groups)] == [ROW_GROUP, 5]
    assert stored.row_group(0).column(0).compression == "ZSTD"


def test_round_trip_through_a_pipe(monkeypatch):
    out = standard_streams(monkeypatch)
    write_table(make_table(), "-")
    standard_streams(monkeypatch, out.getvalue())
    assert read_table("-").data.equals(make_table().data)
    with pytest.raises(DataError, match="standard input is empty"):
        read_table("-")


def test_a_terminal_gets_no_table(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(UsageError, match="-o FILE"):
        check_table_output("-", force=False)
    check_table_output(None, force=False)
    check_table_output(str(tmp_path / "new"), force=False)
    (tmp_path / "old").write_text("")
    with pytest.raises(UsageError, match="--force"):
        check_table_output(str(tmp_path / "old"), force=False)


def test_part_files_of_a_folder_and_of_a_glob(tmp_path):
    table = make_table()
    for name, rows in (("b", slice(2, 5)), ("a", slice(0, 2))):
        part = ScoreTable(table.data.slice(rows.start, rows.stop - rows.start), table.meta)
        write_table(part, str(tmp_path / f"{name}.parquet"))
    for source in (str(tmp_path), str(tmp_path / "*.parquet")):
        back = read_table(source)
        assert back.data["key"].to_pylist() == ["a", "b", "c", "d", "e"]
        assert back.data["status"].to_pylist() == table.data["status"].to_pylist()
        assert back.meta == table.meta


@pytest.mark.parametrize("other", [pa.string(), pa.float64()])
def test_part_files_that_do_not_fit_together(tmp_path, other):
    for name, kind in (("a", pa.int64()), ("b", other)):
        pq.write_table(pa.table({"mine": pa.array([1], pa.int64()).cast(kind)}), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="part files do not fit together"):
        read_table(str(tmp_path))


def test_what_is_no_table(tmp_path):
    (tmp_path / "text").write_text("key,label")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="text: this is no Parquet file"):
        read_table(str(tmp_path / "text"))
    for source in ("nothing", "no*thing", "folder"):
        with pytest.raises(DataError, match="there is no such table"):
            read_table(str(tmp_path / source))


def test_a_table_of_another_tool(tmp_path):
    pq.write_table(
        pa.table({"key": pa.array(["a", "b"], pa.large_string()), "label": [3, 1], "mine": [0.5, 2.0]}),
        tmp_path / "t",
    )
    table = read_table(str(tmp_path / "t"))
    assert table.data.schema.types == [pa.string(), pa.int32(), pa.float64()]
    assert table.ok().tolist() == [True, True]
    assert table.meta == TableMeta()
    assert table.stratum_names("class") == ["0", "1", "2", "3"]
    pq.write_table(pa.table({"label": ["cat"]}), tmp_path / "t")
    with pytest.raises(DataError, match="column 'label' is no int32"):
        read_table(str(tmp_path / "t"))


def test_metadata_of_others_and_of_the_future(tmp_path):
    assert TableMeta.load(json.dumps({"version": 1, "later": 5, "classes": ["a"]}).encode(), "t").classes == [
        "a"
    ]
    for raw in (b"{", b"[1]", b"5"):
        with pytest.raises(DataError, match="t: the metadata"):
            TableMeta.load(raw, "t")
    with pytest.raises(DataError, match="table format 99 is newer"):
        TableMeta.load(b'{"version": 99}', "t")


def test_numbers():
    table = make_table(
        bad=pa.array([0.0, float("nan"), None, float("nan"), 1.0]), text=pa.array(list("vwxyz"))
    )
    np.testing.assert_array_equal(table.numbers("el2n"), [0.5, np.nan, 0.25, 1.0, np.nan])
    np.testing.assert_array_equal(table.numbers("label"), [0, 0, 0, 2, np.nan])
    with pytest.raises(DataError, match=r"'bad' holds 2 NaN \(first at key 'b'\)"):
        table.numbers("bad")
    with pytest.raises(DataError, match="'text' holds string, not numbers"):
        table.numbers("text")
    with pytest.raises(DataError, match=r"t\.parquet: there is no column 'none'; it has key, label"):
        table.numbers("none")


def test_integers_and_strata():
    table = make_table(group=pa.array([1, None, 0, 0, None], pa.int32()))
    assert table.integers("label").tolist() == [0, 0, 0, 2, -1]
    assert table.strata("class").tolist() == [0, 0, 0, 2, -1]
    assert table.stratum_names("class") == ["cat", "dog", "2"]
    with pytest.raises(DataError, match="1 samples with status ok have no group"):
        table.strata("group")
    with pytest.raises(DataError, match="'el2n' holds float, not integers"):
        table.integers("el2n")


def test_a_null_status_is_not_ok():
    status = pa.array(["ok", None, "decode_error", "ok", "ok"]).dictionary_encode()
    assert make_table(status=status).ok().tolist() == [True, False, False, True, True]


def test_columns_are_added_at_the_end_or_replaced_in_place():
    table = make_table()
    more = table.with_columns(quota=np.array([1, 1, 1, 2, 2], np.int32), label=np.arange(5))
    assert more.data.column_names == ["key", "label", "size", "status", "el2n", "quota"]
    assert more.data.schema.field("quota").type == pa.int64()
    assert more.data.schema.field("label").type == pa.int32()
    assert table.data["label"].to_pylist() == [0, 0, 0, 2, None]
    assert "quota" in more and "quota" not in table


def test_keys_must_be_unique_among_usable_rows():
    check_keys(make_table(key=pa.array(["a", "b", "c", "d", "a"])))
    with pytest.raises(DataError, match=r"1 keys stand in it more than once \(first 'b'\)"):
        check_keys(make_table(key=pa.array(["a", "b", "c", "b", "e"])))


def test_the_end_to_keep_first_is_the_high_one_with_a_note_where_nothing_is_known():
    notes = []
    progress = SimpleNamespace(note=notes.append)
    table = make_table()
    low = table.with_meta(TableMeta(scores={"aum": {"keep_first": "low"}, "odd": {"keep_first": "sideways"}}))
    assert low.keep_first("aum", progress) == "low" and notes == []
    assert low.keep_first("odd", progress) == low.keep_first("mine", progress) == "high"
    assert len(notes) == 2 and "'mine'" in notes[1]


def test_fingerprint_is_of_the_data_not_of_their_order():
    data = make_table().data
    mark = fingerprint(data)
    assert fingerprint(data.take(pa.array([3, 1, 4, 0, 2]))) == mark
    assert fingerprint(data.drop_columns(["el2n"])) == mark
    for name, values in (
        ("key", list("abcdf")),
        ("label", [0, 0, 1, 2, None]),
        ("size", [10, 11, 12, 14, None]),
    ):
        place = data.schema.get_field_index(name)
        changed = data.set_column(place, name, pa.array(values, data.schema.field(name).type))
        assert fingerprint(changed) != mark


def test_part_files_of_different_data_sets_are_refused(tmp_path):
    for name, classes in (("a", ["cat", "dog"]), ("b", ["bee"])):
        data = pa.table({"key": [f"{name}{row}" for row in range(3)], "label": [0, 0, 0]})
        table = ScoreTable(data, TableMeta(classes=classes))
        write_table(table, str(tmp_path / f"{name}.parquet"))
    with pytest.raises(DataError, match="are of different data sets"):
        read_table(str(tmp_path))
