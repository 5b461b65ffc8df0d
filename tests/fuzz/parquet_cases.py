"""Parquet files of tables, features, trajectories and quotas: damaged, or with columns of other types."""

from __future__ import annotations

import datetime
import decimal
import functools
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from mutations import Raw, damage, edits

KEYS = ["a", "b", "c", "d/e", "f"]
LABELS = [0, 0, 0, 1, 2]
ROWS = len(KEYS)
DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def to_bytes(table: pa.Table, **options) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


@functools.cache
def score_table() -> pa.Table:
    """A score table with everything that stages look at."""
    columns = {
        "key": pa.array(KEYS),
        "label": pa.array(LABELS, pa.int32()),
        "group": pa.array([0, 1, 0, 1, 0], pa.int32()),
        "shard": pa.array(["a.tar"] * ROWS).dictionary_encode(),
        "offset": pa.array(range(0, 1024 * ROWS, 1024), pa.int64()),
        "size": pa.array([1024] * ROWS, pa.int64()),
        "status": pa.array(["ok"] * 4 + ["decode_error"]).dictionary_encode(),
        "el2n": pa.array([0.5, 0.1, 0.2, 0.9, None], pa.float32()),
        "pred": pa.array([0, 0, 1, 1, 2], pa.int32()),
        "loss": pa.array([0.1, 0.2, 3.0, 0.5, 0.2], pa.float32()),
        "quota": pa.array([2, 2, 2, 1, None], pa.int64()),
    }
    meta = {
        "version": 1,
        "root": "data",
        "classes": ["x", "y", "z"],
        "groups": ["g", "h"],
        "scores": {"el2n": {"keep_first": "high", "hard_end": "high"}},
        "steps": [{"command": "quota", "options": {"by": "class"}}],
    }
    return pa.table(columns).replace_schema_metadata({b"dprune": json.dumps(meta)})


@functools.cache
def features() -> pa.Table:
    """Features with logits and groups."""
    rng = np.random.default_rng(0)
    columns = {
        "key": pa.array(KEYS),
        "label": pa.array(LABELS, pa.int32()),
        "group": pa.array(["g", "h", None, "g", "g"]),
        "features": pa.array(rng.normal(size=(ROWS, 4)).tolist(), pa.list_(pa.float32(), 4)),
        "logits": pa.array(rng.normal(size=(ROWS, 3)).tolist(), pa.list_(pa.float32(), 3)),
    }
    return pa.table(columns).replace_schema_metadata(
        {"dprune_epochs": "3", "dprune_classes": '["x", "y", "z"]'}
    )


@functools.cache
def trajectory() -> pa.Table:
    """Two epochs of training visits and clean passes."""
    rng = np.random.default_rng(0)
    passes = [(epoch, phase) for epoch in (1, 2) for phase in ("train", "probe")]
    columns = {
        "key": pa.array(KEYS * len(passes)),
        "label": pa.array(LABELS * len(passes), pa.int32()),
        "run": pa.array([0] * ROWS * len(passes), pa.int32()),
        "epoch": pa.array([epoch for epoch, _ in passes for _ in KEYS], pa.int32()),
        "phase": pa.array([phase for _, phase in passes for _ in KEYS]).dictionary_encode(),
        "logits": pa.array(rng.normal(size=(ROWS * len(passes), 3)).tolist(), pa.list_(pa.float32(), 3)),
    }
    return pa.table(columns)


@functools.cache
def quotas() -> pa.Table:
    """What `quota --quotas` writes for the score table."""
    rows = [
        {"stratum": number, "name": name, "available": have, "recall": 0.5, "density": 0.5, "quota": keep}
        for number, (name, have, keep) in enumerate((("x", 3, 2), ("y", 1, 1), ("z", 0, 0)))
    ]
    return pa.Table.from_pylist(rows)


def others(count: int) -> list[pa.Array]:
    """Columns of `count` rows of every type that a Parquet file may have."""
    texts = pa.array([str(number) for number in range(count)])
    moment = datetime.datetime(2020, 1, 1)
    return [
        pa.nulls(count),
        pa.nulls(count, pa.string()),
        pa.nulls(count, pa.int32()),
        pa.nulls(count, DICTIONARY),
        texts,
        texts.cast(pa.large_string()),
        texts.dictionary_encode(),
        pa.array(["same"] * count),
        pa.array([""] * count),
        pa.array(["\x1b[2J\n\0"] * count),
        pa.array([b"\xff"] * count),
        pa.array([True] * count),
        pa.array(range(count), pa.int8()),
        pa.array(range(count), pa.uint64()),
        pa.array([2**64 - 1] * count, pa.uint64()),
        pa.array([2**63 - 1] * count, pa.int64()),
        pa.array([-(2**63)] * count, pa.int64()),
        pa.array([-1] * count, pa.int32()),
        pa.array([2**31 - 1] * count, pa.int32()),
        pa.array(range(count), pa.int32()).dictionary_encode(),
        pa.array(np.full(count, 0.5, np.float16)),
        pa.array([0.5] * count),
        pa.array([float("nan")] * count),
        pa.array([float("inf")] * count),
        pa.array([1e300] * count),
        pa.array([decimal.Decimal("1.5")] * count),
        pa.array([decimal.Decimal(10**30)] * count),
        pa.array([datetime.date(2020, 1, 1)] * count),
        pa.array([moment] * count),
        pa.array([moment - moment] * count),
        pa.array([moment.time()] * count),
        pa.array([[]] * count, pa.list_(pa.float32())),
        pa.array([[1.0, None]] * count, pa.list_(pa.float32())),
        pa.array([None, [1.0]] * count, pa.list_(pa.float32(), 1))[:count],
        pa.array([[1.0] * (row + 1) for row in range(count)]),
        pa.array([["x"]] * count),
        pa.array([[[1.0]]] * count),
        pa.array([{"x": 1}] * count),
        pa.array([[("k", 1)]] * count, pa.map_(pa.string(), pa.int32())),
        pa.array([b"1234"] * count, pa.binary(4)),
    ]


_META = (
    None, b"", b"{", b"[]", b"1", b"null", b'"x"', b"{}", b"\xff", b"[" * 100_000, b'{"version": "x"}',
    b'{"version": 99}', b'{"version": null}', b'{"version": 1e999}', b'{"version": true}', b'{"root": 5}',
    b'{"root": "pipe:ls"}', b'{"root": ["a", 5]}', b'{"root": {"a": 1}}', b'{"root": ""}', b'{"root": []}',
    b'{"classes": 5}', b'{"classes": "xyz"}', b'{"classes": [1, 2, 3]}', b'{"classes": ["x", "x"]}',
    b'{"classes": null}', b'{"classes": {"0": "x"}}', b'{"classes": ["\\ud800"]}',
    b'{"classes": ["a\\u001b[2J\\n"]}',
    b'{"groups": [null]}', b'{"groups": 0}', b'{"scores": []}', b'{"scores": {"el2n": 5}}',
    b'{"scores": null}',
    b'{"scores": {"el2n": {"keep_first": 5, "hard_end": []}}}', b'{"scores": {"el2n": {"keep_first": []}}}',
    b'{"steps": 5}', b'{"steps": [5]}', b'{"steps": [{"command": "quota", "options": 5}]}',
    b'{"steps": {"a": 1}}',
    b'{"steps": [{"command": "quota", "options": {"by": "zebra"}}]}', b'{"steps": [{"command": "quota"}]}',
    b'{"steps": [{"command": "quota", "options": {"by": ["x"]}}]}', b'{"steps": [null]}',
    b'{"steps": "quota"}',
    b'{"reading": 5}', b'{"reading": {"label_field": 5}}', b'{"fingerprint": 5}', b'{"fingerprint": []}',
)  # fmt: skip


@st.composite
def rebuilt(draw, make):
    """A file of the columns of `make()`, in which some are of another type, missing, or there twice."""
    table = make()
    if draw(st.booleans()):
        table = table.slice(0, draw(st.integers(0, table.num_rows)))
    names, arrays = list(table.column_names), [column.combine_chunks() for column in table.columns]
    pool = others(table.num_rows)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(names) - 1))
        what = draw(st.sampled_from(("type", "type", "type", "drop", "twice", "null", "rename")))
        if what == "type":
            arrays[place] = pool[draw(st.integers(0, len(pool) - 1))]
        elif what == "drop" and len(names) > 1:
            del names[place], arrays[place]
        elif what == "twice":
            names.append(names[place])
            arrays.append(pool[draw(st.integers(0, len(pool) - 1))])
        elif what == "null" and len(table):
            mask = np.zeros(len(table), bool)
            mask[draw(st.integers(0, len(table) - 1))] = True
            rows = pa.array(np.where(mask, -1, np.arange(len(table))))
            arrays[place] = arrays[place].take(pa.array(rows.to_pylist(), pa.int64(), mask=mask))
        elif what == "rename":
            names[place] = draw(st.sampled_from(("", "keep", "weight", "status", "phase", "\0", "é\n")))
    metadata = table.schema.metadata or {}
    if draw(st.booleans()):
        raw = draw(st.one_of(st.sampled_from(_META), st.binary(max_size=8)))
        name = draw(st.sampled_from((b"dprune", b"dprune", b"dprune_classes", b"dprune_epochs")))
        metadata = {**metadata, name: raw} if raw is not None else {}
    built = pa.Table.from_arrays(arrays, names=names).replace_schema_metadata(metadata)
    return to_bytes(built, row_group_size=draw(st.sampled_from((1, 2, 1000))))


_OPTIONS = (
    {"compression": "none"},
    {"compression": "zstd"},
    {"compression": "snappy", "use_dictionary": False},
    {"compression": "none", "use_dictionary": False, "write_page_checksum": True},
    {"compression": "gzip", "data_page_version": "2.0"},
)


def broken(make):
    """The bytes of a valid file after some damage."""
    raws = st.sampled_from(_OPTIONS).map(lambda options: to_bytes(make(), **options))
    return st.builds(damage, raws, edits, raws)


def files(make):
    """Any file of that kind."""
    return st.one_of(rebuilt(make), rebuilt(make), broken(make)).map(Raw)
