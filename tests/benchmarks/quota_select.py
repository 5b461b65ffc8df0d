"""`quota` + `select` on a table of 10 M rows against DuckDB's window query, in one run.

Budgets: together faster than DuckDB; peak memory of 10 M rows <= 1.5 GB, of 100 M rows <= 2 GB. All read the
same Parquet file, as `dprune score` lays it out, keep the best half of every class by a score, and write all
rows with a column `keep`.

    python tests/benchmarks/quota_select.py [ROWS [TURNS]]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprune_cli.io.table import ROW_GROUP

CLASSES = 1000
ORACLE = """
import duckdb, sys
query = '''
copy (select * exclude (place, total), place <= floor(total * 0.5 + 0.5) as keep
      from (select *, row_number() over (partition by label order by el2n desc, key) as place,
                      count(*) over (partition by label) as total
            from read_parquet($1)))
to '{out}' (format parquet, compression zstd)
'''
duckdb.execute(query.replace('$1', "'" + sys.argv[1] + "'").replace('{out}', sys.argv[2]))
"""


DPRUNE = [sys.executable, "-m", "dprune_cli"]


@dataclass(frozen=True)
class Cost:
    """What a process took: wall seconds, and its own peak memory in GB."""

    seconds: float
    peak: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.peak:.2f} GB"


def write_table(path: str, rows: int) -> None:
    """Unequal classes, random scores, some row groups at a time."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("key", pa.string()), ("label", pa.int32()), ("el2n", pa.float32())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for first in range(0, rows, 8 * ROW_GROUP):
            count = min(8 * ROW_GROUP, rows - first)
            label = (CLASSES * rng.random(count) ** 2).astype(np.int32)
            columns = [make_keys(first, count), pa.array(label), pa.array(rng.random(count, np.float32))]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROW_GROUP)


def make_keys(first: int, count: int) -> pa.Array:
    """`train/000000000` and so on: digit by digit, because formatting takes ten times as long."""
    text = np.tile(np.frombuffer(b"train/000000000", np.uint8), (count, 1))
    number = np.arange(first, first + count)
    for place in range(1, 10):
        text[:, -place] += (number % 10).astype(np.uint8)
        number //= 10
    offsets = np.arange(count + 1, dtype=np.int32) * text.shape[1]
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def run(command: list[str]) -> Cost | None:
    """What a command took; None if it failed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(time.perf_counter() - begin, usage.ru_maxrss / 1e6)
    return cost if process.returncode == 0 else None


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    with tempfile.TemporaryDirectory() as folder:
        table, quotas, kept = f"{folder}/t.parquet", f"{folder}/q.parquet", f"{folder}/k.parquet"
        write_table(table, rows)
        half = ["--keep", "0.5", "--method", "uniform"]
        for _ in range(turns):
            quota = run([*DPRUNE, "quota", table, *half, "-o", quotas, "-q", "--force"])
            select = run([*DPRUNE, "select", quotas, "--by", "el2n", "-o", kept, "-q", "--force"])
            theirs = run([sys.executable, "-c", ORACLE, table, f"{folder}/duck.parquet"])
            print(f"{rows} rows: quota {quota}; select {select}; DuckDB {theirs}", flush=True)
            if quota and select and theirs:
                ratio = (quota.seconds + select.seconds) / theirs.seconds
                print(f"together {ratio:.2f}x DuckDB (< 1), peak {max(quota.peak, select.peak):.2f} GB")


if __name__ == "__main__":
    main()
