"""Selections and quotas of tables in files, against a slow reference over lists of rows."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import Told

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import DataError
from dprune_cli.core.seeds import derive
from dprune_cli.io.keys import draw_seed, hash_keys
from dprune_cli.io.table import ROW_GROUP, ScoreTable, TableMeta, open_table, read_table, write_table
from dprune_cli.pickers.base import PICKERS
from dprune_cli.stages.quota import QuotaRequest, quota
from dprune_cli.stages.select import SelectRequest, select

CLASSES = ["ant", "bee", "cat", "dog", "elk"]
GROUPS = ["left", "right", "top"]
N = 400


def make(seed, part_sizes=(N,)):
    """Unequal classes, ties, missing scores, rows that cannot be kept."""
    rng = np.random.default_rng(seed)
    ok = rng.random(N) > 0.1
    score = (rng.integers(0, 12, N) / 7).astype(np.float32)
    hard = rng.integers(-4, 4, N) / 3
    data = pa.table(
        {
            "key": [f"{number}/{seed}" for number in rng.permutation(N)],
            "label": pa.array((5 * rng.random(N) ** 2).astype(np.int32), mask=~ok & (rng.random(N) < 0.5)),
            "group": pa.array((3 * rng.random(N) ** 3).astype(np.int32)),
            "status": np.where(ok, "ok", "decode_error"),
            "score": pa.array(score, mask=~ok | (rng.random(N) < 0.08)),
            "hard": pa.array(hard, mask=rng.random(N) < 0.05),
            "loss": pa.array(rng.random(N).astype(np.float32)),
        }
    )
    scores = {"score": {"keep_first": "high"}, "hard": {"hard_end": "high"}}
    return ScoreTable(data, TableMeta(classes=CLASSES, groups=GROUPS, scores=scores), "T")


def store(table, folder, sizes):
    """Part files with row groups of odd sizes."""
    folder.mkdir()
    data = table.data.replace_schema_metadata({b"dprune": table.meta.dump()})
    for number, (first, last) in enumerate(zip([0, *sizes], [*sizes, N], strict=True)):
        path = folder / f"{number}.parquet"
        pq.write_table(data.slice(first, last - first), path, row_group_size=53 + number)
    return open_table(str(folder))


def rounded(number):
    return int(number + Fraction(1, 2))


def in_order(rows, values, hashes, end):
    """Rows by value, the kept end first, equal ones by hash."""
    sign = -1 if end == "high" else 1
    return sorted(rows, key=lambda row: (sign * values[row], hashes[row]))


def reference(table, *, by="score", end="high", pick="top", cutoff=0.0, quotas=None, keep=None, seed=0):
    """Key to reason, None for what is kept; by the definitions, one stratum after another."""
    rows = table.data.to_pylist()
    usable = [row for row in range(N) if rows[row]["status"] == "ok"]
    keys = [rows[row]["key"] for row in range(N)]
    salted = draw_seed(seed, hash_keys([keys[row] for row in usable]))
    hashes = hash_keys(keys, salted).tolist()
    cut_hashes = hash_keys(keys, derive(salted, "cutoff")).tolist()
    values, hard = ([row[name] for row in rows] for name in ("score", "hard"))
    column = "label" if quotas is None or len(quotas) == len(CLASSES) else "group"
    strata = [(usable, keep)]
    if quotas is not None:
        strata = [
            ([row for row in usable if rows[row][column] == number], count)
            for number, count in enumerate(quotas)
        ]
    reasons = dict.fromkeys(keys, "status")
    for own, count in strata:
        scored = [row for row in own if by == "random" or values[row] is not None]
        reasons |= {keys[row]: "rank" if row in scored else "no_score" for row in own}
        known = [row for row in scored if hard[row] is not None]
        share = rounded(Fraction(repr(cutoff)) * len(known)) if cutoff else 0
        cut = set(in_order(known, hard, cut_hashes, "high")[:share])
        reasons |= {keys[row]: "cutoff" for row in cut}
        left = [row for row in scored if row not in cut]
        if pick == "top" and by != "random":
            order = in_order(left, values, hashes, "low" if end == "middle" else end)
            skipped = (len(left) - count) // 2 if end == "middle" else 0
            chosen = order[skipped : skipped + count]
        else:
            name = "random" if by == "random" else pick
            own_values = None if by == "random" else np.array([values[row] for row in left], np.float64)
            own_hashes = np.array([hashes[row] for row in left], np.uint64)
            picker = PICKERS.make(name)
            picker = picker.oriented(end) if name == "weighted" else picker
            chosen = [left[at] for at in picker.pick(own_values, count, own_hashes.__getitem__, len(left))]
        reasons |= {keys[row]: None for row in chosen}
    return reasons


CASES = {
    "high": {},
    "low": {"end": "low"},
    "middle": {"end": "middle"},
    "random": {"by": "random"},
    "weighted": {"pick": "weighted"},
    "stratified": {"pick": "stratified"},
    "cutoff": {"pick": "stratified", "cutoff": 0.15},
}
QUOTAS = {"whole": None, "class": [30, 9, 0, 20, 2], "group": [60, 4, 1]}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("within", QUOTAS)
@pytest.mark.parametrize("sizes", [(), (7, 210)], ids=["one file", "parts"])
def test_files_give_what_the_definitions_give(tmp_path, case, within, sizes):
    seed = sum(map(ord, case + within))
    table, options, quotas = make(seed), dict(CASES[case]), QUOTAS[within]
    if quotas is not None:
        ids = np.array(table.data["label" if within == "class" else "group"].fill_null(0))
        table = table.with_columns(quota=np.array(quotas)[ids])
        table = table.with_meta(table.meta.with_step("quota", by=within))
    stored = store(table, tmp_path / "parts", sizes)
    cutoff = options.pop("cutoff", 0.0)
    pick = options.get("pick", "top")
    request = SelectRequest(
        by=options.get("by", "score"),
        keep=None if quotas else parse_budget("77"),
        pick=None if case == "random" else pick + (f":cutoff={cutoff},cutoff_by=hard" if cutoff else ""),
        end=options.get("end"),
        seed=3,
        weight_by="loss",
    )
    found = select(stored, request, Told())
    write_table(found.table, str(tmp_path / "out"))
    rows = read_table(str(tmp_path / "out")).data.to_pylist()
    expected = reference(table, cutoff=cutoff, quotas=quotas, keep=77, seed=3, **options)
    assert {row["key"]: row["reason"] for row in rows} == expected
    assert [row["keep"] for row in rows] == [row["reason"] is None for row in rows]
    kept = [row for row in rows if row["keep"]]
    assert len(kept) == (77 if quotas is None else sum(quotas))
    mean = sum(row["loss"] for row in kept) / len(kept)
    assert [row["weight"] for row in kept] == pytest.approx([row["loss"] / mean for row in kept], rel=1e-5)
    # In memory it is the same.
    inside = select(table, request, Told())
    assert inside.table.data.to_pylist() == rows
    assert inside.as_json() == found.as_json()
    assert found.as_json()["kept"] == len(kept)


@pytest.mark.parametrize("method", ["uniform", "balanced", "loss", "score:by=score", "longtail:factor=3"])
@pytest.mark.parametrize("by", ["class", "group"])
def test_quotas_of_files_and_of_memory(tmp_path, method, by):
    table = make(5)
    stored = store(table, tmp_path / "parts", (7, 210))
    request = QuotaRequest(method=method, keep=parse_budget("0.3"), by=by)
    inside, review = quota(table, request, Told())
    found, same = quota(stored, request, Told())
    assert review.rows() == same.rows()
    write_table(found, str(tmp_path / "out"))
    rows = read_table(str(tmp_path / "out")).data.to_pylist()
    assert rows == inside.data.to_pylist()
    column = "label" if by == "class" else "group"
    quotas = review.quota.tolist()
    assert [row["quota"] for row in rows] == [
        quotas[row[column]] if row["status"] == "ok" else None for row in rows
    ]


@pytest.mark.parametrize("place", [0, 199, 399])
def test_quotas_that_differ_in_any_piece(tmp_path, place):
    table = make(5).with_columns(status=pa.array(["ok"] * N), label=np.arange(N) % 5)
    for wrong in (3, -1):
        quotas = np.full(N, 2)
        quotas[place] = wrong
        stored = store(table.with_columns(quota=quotas), tmp_path / f"{wrong}", (7, 210))
        # The first row that has not the quota of the last one of its class.
        name = CLASSES[place % 5]
        with pytest.raises(DataError, match=f"column 'quota' must hold one number .* for all of '{name}'"):
            select(stored, SelectRequest(by="random"), Told())
    # Rows that cannot be kept may have any quota and any class.
    odd = np.arange(N) % 7 == 6
    table = table.with_columns(
        status=pa.array(np.where(odd, "decode_error", "ok")), label=np.where(odd, -9, np.arange(N) % 5)
    )
    fine = store(table.with_columns(quota=np.where(odd, -3, 2)), tmp_path / "f", (7, 210))
    assert select(fine, SelectRequest(by="random"), Told()).as_json()["kept"] == 10
    negative = store(table.with_columns(quota=np.where(np.arange(N) % 5 == 3, -2, 1)), tmp_path / "n", ())
    with pytest.raises(DataError, match="of at least 0 for all of 'dog'"):
        select(negative, SelectRequest(by="random"), Told())


LARGE = """
import resource, sys
from dprune_cli.cli.app import run
code = run(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--by", "el2n"], ["--by", "random"], ["--by", "el2n", "--end", "middle"]]
)
def test_memory_is_a_few_bytes_a_row(tmp_path, options):
    """About what the three columns alone would take in memory, whatever is done with them."""
    write_large(tmp_path / "small", 100_000)
    write_large(tmp_path / "large", 6_000_000)
    peaks = {}
    for name in ("small", "large"):
        quota = ["quota", name, "--keep", "0.3", "--method", "uniform", "-o", f"{name}.q", "-q"]
        pick = ["select", f"{name}.q", *options, "-o", f"{name}.k", "-q"]
        for command in (quota, pick):
            done = subprocess.run(
                [sys.executable, "-c", LARGE, *command],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            code, peak = map(int, done.stdout.split())
            assert code == 0, done.stderr
            peaks[name, command[0]] = 1024 * peak
    assert peaks["large", "quota"] - peaks["small", "quota"] < 24 * 6_000_000
    assert peaks["large", "select"] - peaks["small", "select"] < 32 * 6_000_000
    found = pq.read_table(tmp_path / "large.k", columns=["keep"])
    assert sum(found["keep"].to_pylist()) == 1_800_000


def write_large(path, rows):
    """The layout of our own tables; 60 classes."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("key", pa.string()), ("label", pa.int32()), ("el2n", pa.float32())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for first in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - first)
            keys = pa.array([f"train/{row:08}" for row in range(first, first + count)])
            label = (60 * rng.random(count) ** 2).astype(np.int32)
            data = pa.table([keys, pa.array(label), pa.array(rng.random(count, np.float32))], schema=schema)
            writer.write_table(data)
