"""Tables that are written row group by row group, and copied without being decoded."""

from __future__ import annotations

import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprune_cli.core.errors import DataError
from dprune_cli.io import table_stored
from dprune_cli.io.table import (
    DICTIONARY,
    METADATA_KEY,
    ROW_GROUP,
    ScoreTable,
    TableMeta,
    open_table,
    read_table,
    write_table,
)
from dprune_cli.io.table_chunks import Chunk
from dprune_cli.io.table_footer import Value, dump_footer, footer_length, integer, load_footer, struct_value
from dprune_cli.io.table_write import write_rows

SMALL = 1000


def make(rows, seed=0):
    """Columns of every kind: plain, dictionaries, lists, structs, nothing but nulls."""
    rng = np.random.default_rng(seed)
    words = np.array(["ok", "decode_error", "missing_label"])[rng.integers(0, 3, rows)]
    data = pa.table(
        {
            "key": [f"{seed}/{row:07}" for row in rng.permutation(rows)],
            "label": pa.array(rng.integers(0, 7, rows), pa.int32(), mask=rng.random(rows) < 0.1),
            "status": pa.array(words).dictionary_encode().cast(DICTIONARY),
            "el2n": pa.array(rng.random(rows, np.float32), mask=rng.random(rows) < 0.2),
            "boxes": [[1.5] * int(count) for count in rng.integers(0, 3, rows)],
            "more": [{"a": int(number), "b": "x"} for number in rng.integers(0, 9, rows)],
            "empty": pa.nulls(rows, pa.float64()),
        }
    )
    return ScoreTable(data, TableMeta(classes=["a", "b"]).with_step("score", seed=seed), "T")


def arrow_bytes(table):
    """What Arrow writes of the whole table at once."""
    sink = io.BytesIO()
    data = table.data.replace_schema_metadata({METADATA_KEY: table.meta.dump()})
    pq.write_table(
        data, sink, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=["status", "reason"]
    )
    return sink.getvalue()


def stored(path):
    """A table as Arrow alone reads it; the items of lists have other names than in memory."""
    table = open_table(str(path))
    return ScoreTable(pq.read_table(path).replace_schema_metadata(), table.meta, table.source)


def our_bytes(table):
    sink = io.BytesIO()
    write_rows(table, sink)
    return sink.getvalue()


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of 1000 rows, so that small tables have several."""
    for module in ("table", "table_write", "table_meta"):
        monkeypatch.setattr(f"dprune_cli.io.{module}.ROW_GROUP", SMALL)
    monkeypatch.setitem(globals(), "ROW_GROUP", SMALL)


@pytest.fixture
def never_decoded(monkeypatch):
    """The names of the columns that are read from a file from now on."""
    seen = set()
    read = table_stored.Part.read

    def watched(self, group, columns):
        seen.update(columns)
        return read(self, group, columns)

    monkeypatch.setattr(table_stored.Part, "read", watched)
    return seen


@pytest.mark.parametrize("rows", [1, 999, 1000, 1001, 3456])
def test_the_bytes_are_those_that_arrow_writes(small_groups, rows):
    assert our_bytes(make(rows)) == arrow_bytes(make(rows))


def test_what_is_stored_is_copied_and_not_decoded(small_groups, never_decoded, tmp_path):
    table = make(3456)
    write_table(table, str(tmp_path / "t"))
    assert our_bytes(open_table(str(tmp_path / "t"))) == arrow_bytes(stored(tmp_path / "t"))
    assert never_decoded == set()


def test_added_replaced_and_dropped_columns(small_groups, never_decoded, tmp_path):
    table = make(3456)
    write_table(table, str(tmp_path / "t"))
    quota = np.arange(3456)

    def change(one):
        one = one.without("more", "nothing")
        return one.with_computed(
            quota=lambda rows: pa.array(quota[rows]),
            label=lambda rows: pa.array(quota[rows].astype(np.int32)),
        )

    changed = change(open_table(str(tmp_path / "t")))
    assert changed.schema.names == ["key", "label", "status", "el2n", "boxes", "empty", "quota"]
    assert our_bytes(changed) == arrow_bytes(change(stored(tmp_path / "t")))
    assert never_decoded == set()
    # What was added can be read like any other column, and be dropped again.
    assert changed.value("quota", 2345) == 2345 and changed.value("label", 0) == 0
    assert "quota" not in changed.without("quota")


@pytest.mark.parametrize("size", [300, 1000, 2500])
@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_tables_of_other_tools_get_our_layout(small_groups, tmp_path, size, compression):
    data = make(3456).data.drop_columns(["status"])
    pq.write_table(data, tmp_path / "t", row_group_size=size, compression=compression)
    write_table(open_table(str(tmp_path / "t")), str(tmp_path / "out"))
    stored = pq.ParquetFile(tmp_path / "out").metadata
    assert [stored.row_group(n).num_rows for n in range(stored.num_row_groups)] == [1000, 1000, 1000, 456]
    assert {stored.row_group(n).column(0).compression for n in range(4)} == {"ZSTD"}
    assert read_table(str(tmp_path / "out")).data.equals(data)


def test_types_become_ours_whatever_is_copied_beside_them(small_groups, never_decoded, tmp_path):
    data = make(2345).data
    for name, kind in (("label", pa.int64()), ("status", pa.string())):
        data = data.set_column(data.schema.get_field_index(name), name, data[name].cast(kind))
    write_table(ScoreTable(data, TableMeta()), str(tmp_path / "t"))
    copied = our_bytes(open_table(str(tmp_path / "t")))
    assert never_decoded == {"label", "status"}
    found = pq.read_table(io.BytesIO(copied))
    assert found.schema.field("label").type == pa.int32() and found.schema.field("status").type == DICTIONARY
    assert found.drop_columns(["label", "status"]).equals(data.drop_columns(["label", "status"]))
    assert found["status"].cast(pa.string()).equals(data["status"])


def test_part_files_of_unlike_columns_and_dictionaries(small_groups, tmp_path):
    parts = [make(1000, 1), make(700, 2), make(1300, 3)]
    other = pa.array(["gone", "ok"] * 650).dictionary_encode().cast(DICTIONARY)
    parts[0] = parts[0].without("boxes")
    parts[1] = parts[1].with_columns(extra=np.arange(700))
    parts[2] = parts[2].with_columns(status=other)
    for number, part in enumerate(parts):
        write_table(part, str(tmp_path / f"{number}.parquet"))
    whole = read_table(str(tmp_path))
    expected = pa.concat_tables([part.data for part in parts], promote_options="default")
    assert whole.data.column_names == expected.column_names == open_table(str(tmp_path)).schema.names
    assert whole.data.to_pylist() == expected.to_pylist()
    copied = pq.read_table(io.BytesIO(our_bytes(open_table(str(tmp_path)))))
    assert copied.to_pylist() == expected.to_pylist()
    assert copied["status"].type == DICTIONARY


def test_a_table_without_rows(tmp_path):
    table = ScoreTable(make(3).data.slice(0, 0), TableMeta(), "T")
    write_table(table, str(tmp_path / "t"))
    again = open_table(str(tmp_path / "t"))
    assert len(again) == 0 and again.schema.names == table.data.column_names
    assert len(open_table(str(tmp_path / "t")).edges) <= 2
    assert read_table(str(tmp_path / "t")).data.equals(table.data)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    write_table(make(3456), str(tmp_path / "t"))
    table = open_table(str(tmp_path / "t"))
    assert len(our_bytes(table)) > 1000
    with open(tmp_path / "t", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="t: changed while it was read; start again"):
        our_bytes(table)
    with pytest.raises(DataError, match="became shorter while it was read"):
        Chunk(lambda start, length: b"x" * (length - 1), 4, 10, {}).load()


@pytest.mark.parametrize("how", ["replaced", "written over", "touched"])
def test_a_file_that_changes_after_it_was_opened(tmp_path, how):
    for seed, name in enumerate("ab"):
        write_table(make(345, seed), str(tmp_path / name))
    table = open_table(str(tmp_path / "a"))
    assert our_bytes(table) == arrow_bytes(stored(tmp_path / "a"))
    if how == "replaced":
        os.replace(tmp_path / "b", tmp_path / "a")
    elif how == "written over":
        (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes())
    later = (tmp_path / "a").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "a", ns=(later, later))
    recoded = table.with_computed(label=lambda rows: pa.nulls(rows.stop - rows.start, pa.int32()))
    for read in (lambda: our_bytes(table), lambda: our_bytes(recoded), lambda: table.value("key", 0)):
        with pytest.raises(DataError, match=r"a: changed while it was read; start again$"):
            read()


def test_a_file_of_the_same_size_and_time_in_the_place_of_another(tmp_path):
    for name in ("a", "b"):
        write_table(make(345), str(tmp_path / name))
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    table = open_table(str(tmp_path / "a"))
    os.replace(tmp_path / "b", tmp_path / "a")
    with pytest.raises(DataError, match="changed while it was read"):
        our_bytes(table)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("when", ["while it is opened", "later"])
def test_a_file_that_changes_in_the_middle_of_a_read(tmp_path, monkeypatch, when, damaged):
    for seed, name in enumerate("ab"):
        write_table(make(345, seed), str(tmp_path / name))
    opened = table_stored._opened

    def exchange(where):
        if damaged:
            where.write_bytes(b"PAR1")
        else:
            os.replace(tmp_path / "b", where)
        return opened(where)

    table = open_table(str(tmp_path / "a"))
    monkeypatch.setattr(table_stored, "_opened", exchange)
    with pytest.raises(DataError, match=r"a: changed while it was read; start again$"):
        open_table(str(tmp_path / "a")) if when == "while it is opened" else table.value("key", 0)


def edited(raw, edit):
    """A Parquet file whose footer says something else."""
    length = footer_length(raw[-8:])
    footer = load_footer(raw[-length - 8 : -8])
    edit(footer)
    return raw[: -length - 8] + dump_footer(footer)


def chunks_of(raw):
    """What the footer says of every chunk."""
    footer = load_footer(raw[-footer_length(raw[-8:]) - 8 : -8])
    return [chunk for group in footer[4].held for chunk in group[1].held]


def test_indexes_and_filters_of_the_source_are_left_behind(small_groups, never_decoded, tmp_path):
    data = make(2345).data.replace_schema_metadata({METADATA_KEY: TableMeta().dump()})
    pq.write_table(
        data,
        tmp_path / "t",
        row_group_size=ROW_GROUP,
        compression="zstd",
        use_dictionary=["status"],
        write_page_index=True,
    )

    # Only newer versions of Arrow write filters.
    elsewhere = {10: integer(4), 14: integer(4), 15: Value(5, 32)}

    def add_filter(footer):
        for group in footer[4].held:
            for chunk in group[1].held:
                chunk[3] = struct_value(dict(sorted({**chunk[3].held, **elsewhere}.items())))

    raw = edited((tmp_path / "t").read_bytes(), add_filter)
    (tmp_path / "t").write_bytes(raw)
    # 4 to 7 of a chunk are its page index; 10, 14 and 15 of its metadata are another index and a filter.
    assert {4, 5, 6, 7} <= {number for chunk in chunks_of(raw) for number in chunk}
    assert {10, 14, 15} <= {number for chunk in chunks_of(raw) for number in chunk[3].held}
    copied = our_bytes(open_table(str(tmp_path / "t")))
    assert never_decoded == set()
    for chunk in chunks_of(copied):
        assert not {4, 5, 6, 7} & set(chunk) and not {10, 14, 15} & set(chunk[3].held)
        places = [chunk[3].held[number].held for number in (9, 11) if number in chunk[3].held]
        assert all(0 < place < len(copied) for place in places)
    assert pq.read_table(io.BytesIO(copied)).to_pylist() == data.to_pylist()


def test_what_another_program_wrote_is_encoded_anew(small_groups, never_decoded, tmp_path):
    table = make(2345)

    def rename(footer):
        footer[6] = Value(footer[6].kind, b"other version 1.0")

    write_table(table, str(tmp_path / "t"))
    (tmp_path / "t").write_bytes(edited((tmp_path / "t").read_bytes(), rename))
    assert our_bytes(open_table(str(tmp_path / "t"))) == arrow_bytes(stored(tmp_path / "t"))
    assert never_decoded == set(table.schema.names)


@pytest.mark.parametrize("rows", [1001, 2345, 3000])
def test_one_row_group_that_is_larger_than_ours_is_parted(small_groups, tmp_path, rows):
    data = make(rows).data.replace_schema_metadata({METADATA_KEY: TableMeta().dump()})
    pq.write_table(data, tmp_path / "t", row_group_size=rows, compression="zstd", use_dictionary=["status"])
    copied = our_bytes(open_table(str(tmp_path / "t")))
    found = pq.ParquetFile(io.BytesIO(copied)).metadata
    sizes = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
    assert sizes == [min(1000, rows - first) for first in range(0, rows, 1000)]
    assert pq.read_table(io.BytesIO(copied)).to_pylist() == data.to_pylist()


def test_a_row_group_that_holds_other_rows_than_its_footer_says(tmp_path):
    def add_row(footer):
        footer[3] = footer[4].held[0][3] = integer(346)

    write_table(make(345), str(tmp_path / "t"))
    (tmp_path / "t").write_bytes(edited((tmp_path / "t").read_bytes(), add_row))
    with pytest.raises(
        DataError, match=r"t: this is no Parquet file \(row group 0 holds 345 rows, not 346\)"
    ):
        open_table(str(tmp_path / "t")).value("label", 0)


def test_footers_are_written_as_they_were_read():
    raw = arrow_bytes(make(345))
    footer = raw[-footer_length(raw[-8:]) - 8 : -8]
    assert dump_footer(load_footer(footer)) == raw[-len(footer) - 8 :]


def test_footers_that_are_none():
    raw = arrow_bytes(make(345))
    footer = raw[-footer_length(raw[-8:]) - 8 : -8]
    rng = np.random.default_rng(0)
    for tail in (b"", b"PAR1", b"\x00\x00\x00\x00PARE"):
        with pytest.raises(ValueError, match="no Parquet file"):
            footer_length(tail)
    refused = 0
    for _ in range(300):
        bad = bytearray(footer[: int(rng.integers(len(footer)))])
        for place in rng.integers(0, len(bad) + 1, 3):
            bad[place : place + 1] = rng.bytes(1)
        try:
            load_footer(bytes(bad))
        except ValueError:
            refused += 1
    assert refused > 100
    with pytest.raises(ValueError, match="no Parquet footer"):
        load_footer(b"\x1c" * 100_000)
