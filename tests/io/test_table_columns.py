"""Columns and keys of tables that are read from files, piece by piece."""

from __future__ import annotations

import base64

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from dprune_cli.core.errors import DataError
from dprune_cli.io import table_keys
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.table import ScoreTable, TableMeta, check_keys, open_table, write_table
from dprune_cli.io.table_columns import read_integers, read_numbers, read_ok, read_strata
from dprune_cli.io.table_keys import KeyHashes

N = 100


def stored(tmp_path, **columns):
    """A file whose pieces are of 7 rows, the last one of 2."""
    columns.setdefault("key", [f"k{row}" for row in range(N)])
    pq.write_table(pa.table(columns), tmp_path / "t", row_group_size=7)
    return open_table(str(tmp_path / "t"))


@pytest.mark.parametrize(
    ("largest", "kind"),
    [(127, np.int8), (128, np.int16), (32767, np.int16), (32768, np.int32), (2**31, np.int64)],
)
@pytest.mark.parametrize("place", [0, 50, 99])
def test_integers_are_as_narrow_as_they_can_be(tmp_path, largest, kind, place):
    values = [row % 5 for row in range(N)]
    values[place], values[3] = largest, None
    found = read_integers(stored(tmp_path, mine=pa.array(values, pa.int64())), "mine")
    assert found.dtype == kind
    assert found.tolist() == [-1 if value is None else value for value in values]


@pytest.mark.parametrize(
    ("kind", "wide"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i1", "f4"), ("u2", "f4"), ("i4", "f8"), ("u8", "f8")],
)
def test_numbers_are_exact(tmp_path, kind, wide):
    values = np.arange(N).astype(kind)
    values[5] = np.finfo(kind).max if kind[0] == "f" else np.iinfo(kind).max
    null = np.arange(N) % 9 == 4
    found = read_numbers(stored(tmp_path, mine=pa.array(values, mask=null)), "mine")
    assert found.dtype == wide
    np.testing.assert_array_equal(found, np.where(null, np.nan, values.astype("f8")))


def test_nan_is_counted_over_all_pieces(tmp_path):
    values = pa.array(
        [float("nan") if row in (16, 17, 90) else None if row == 5 else 1.0 for row in range(N)]
    )
    with pytest.raises(DataError, match=r"t: column 'mine' holds 3 NaN \(first at key 'k16'\)"):
        read_numbers(stored(tmp_path, mine=values), "mine")


def test_what_is_ok_and_who_has_a_class(tmp_path):
    status = ["ok" if row % 3 else ["decode_error", None][row % 2] for row in range(N)]
    label = [None if row in (0, 3) else row % 4 for row in range(N)]
    table = stored(tmp_path, status=pa.array(status).dictionary_encode(), label=pa.array(label, pa.int32()))
    ok = read_ok(table)
    assert ok.tolist() == [row % 3 != 0 for row in range(N)]
    strata = read_strata(table, "class", ok)
    assert strata.names == ["0", "1", "2", "3"] and strata.ids.dtype == np.int8
    with pytest.raises(DataError, match="2 samples with status ok have no label"):
        read_strata(table, "class", np.ones(N, bool))
    with pytest.raises(DataError, match="there is no column 'group'; it has status, label, key"):
        read_strata(table, "group", ok)


def test_keys_of_all_pieces_are_compared(tmp_path):
    keys = [f"k{row}" for row in range(N)]
    hashes = check_keys(stored(tmp_path, key=keys))
    np.testing.assert_array_equal(hashes, np.sort(hash_keys(keys)))
    keys[95], keys[96], keys[60], keys[61] = "k40", "k40", "k1", "é"
    status = ["ok"] * N
    with pytest.raises(DataError, match=r"t: 2 keys stand in it more than once \(first 'k1'\)"):
        check_keys(stored(tmp_path, key=keys, status=status))
    status[1] = "decode_error"
    with pytest.raises(DataError, match=r"t: 1 keys stand in it more than once \(first 'k40'\)"):
        check_keys(stored(tmp_path, key=keys, status=status))


def test_keys_of_one_hash_are_told_apart(tmp_path, monkeypatch):
    def rough(keys, seed=0):
        return hash_keys(keys, seed) % np.uint64(5) if seed == 0 else hash_keys(keys, seed)

    monkeypatch.setattr(table_keys, "hash_keys", rough)
    keys = [f"k{row}" for row in range(N)]
    check_keys(stored(tmp_path, key=keys))
    keys[99] = "k98"
    with pytest.raises(DataError, match=r"1 keys stand in it more than once \(first 'k98'\)"):
        check_keys(stored(tmp_path, key=keys))


def test_a_missing_key_is_not_the_empty_one(tmp_path):
    keys = [f"k{row}" for row in range(N)]
    check_keys(stored(tmp_path, key=["", None, *keys[2:]]))
    with pytest.raises(DataError, match=r"1 keys stand in it more than once \(first None\)"):
        check_keys(stored(tmp_path, key=["", *keys[2:], None, None][:102]))


def test_only_pieces_that_are_asked_for_are_hashed(tmp_path, monkeypatch):
    table = stored(tmp_path)
    hashed = []

    def watched(keys, seed=0):
        hashed.append(len(keys))
        return hash_keys(keys, seed)

    monkeypatch.setattr(table_keys, "hash_keys", watched)
    expected = hash_keys([f"k{row}" for row in range(N)], 3)
    hashes = KeyHashes(table, 3)
    for rows, newly in (([8, 99, 9], 9), ([13], 0), ([], 0), ([7, 50], 7), (list(range(N)), N - 16)):
        hashed.clear()
        asked = np.array(rows, np.uint32)
        np.testing.assert_array_equal(hashes(asked), expected[asked])
        assert sum(hashed) == newly


def test_no_columns_and_no_rows(tmp_path):
    table = stored(tmp_path, key=pa.array([], pa.string()), label=pa.array([], pa.int32()))
    assert len(check_keys(table)) == 0 and len(read_ok(table)) == 0
    assert read_strata(table, "class", read_ok(table)).names == []
    assert len(KeyHashes(table, 0)(np.array([], np.uint32))) == 0


def test_an_error_in_a_later_piece_is_told(tmp_path):
    label = [str(row) for row in range(N)]
    label[70] = "cat"
    with pytest.raises(DataError, match="column 'label' is no int32"):
        read_integers(stored(tmp_path, label=label), "label")


def test_tables_in_memory_are_read_by_the_same_functions():
    data = pa.table({"key": ["a", "b", "c"], "label": [0, None, 300]})
    table = ScoreTable(data, TableMeta(classes=["cat"]))
    assert read_integers(table, "label").tolist() == [0, -1, 300]
    assert table.value("key", 2) == "c" and len(table) == 3 and "group" not in table


class OneKey(encryption.KmsClient):
    """Keys that are no secret."""

    def wrap_key(self, key_bytes, master_key_identifier):
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key, master_key_identifier):
        return base64.b64decode(wrapped_key)


def test_a_table_with_an_encrypted_column_is_refused(tmp_path):
    table = pa.table({"key": ["a", "b", "c"], "label": [0, 0, 1], "secret": [1, 2, 3]})
    factory = encryption.CryptoFactory(lambda _: OneKey())
    wanted = encryption.EncryptionConfiguration(
        "footer", column_keys={"k": ["secret"]}, plaintext_footer=True
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), wanted)
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, table.schema, compression="zstd", encryption_properties=properties) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match=r"encrypted|decrypt"):
        write_table(open_table(str(path)), str(tmp_path / "out.parquet"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
