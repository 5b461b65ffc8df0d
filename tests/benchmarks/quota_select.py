"""`quota` + `select` on a table of 10 M rows against DuckDB's window query, in one run.

Budgets: faster than DuckDB, peak memory <= 1.5 GB. Both read the Parquet file, keep the best half of
every class by a score, and write all rows with a column `keep`.

    python tests/benchmarks/quota_select.py [ROWS]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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


def write_table(path: str, rows: int) -> None:
    """Unequal classes, random scores, one million rows at a time."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("key", pa.string()), ("label", pa.int32()), ("el2n", pa.float32())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, rows, 1_000_000):
            count = min(1_000_000, rows - first)
            keys = pa.array(np.char.mod("train/%08d", np.arange(first, first + count)).astype(object))
            label = (CLASSES * rng.random(count) ** 2).astype(np.int32)
            columns = [keys.cast(pa.string()), pa.array(label), pa.array(rng.random(count, np.float32))]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def run(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in GB of a process."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        table, quotas, kept = f"{folder}/t.parquet", f"{folder}/q.parquet", f"{folder}/k.parquet"
        write_table(table, rows)
        dprune = [python, "-m", "dprune_cli"]
        quota = [
            *dprune,
            "quota",
            table,
            "--keep",
            "0.5",
            "--method",
            "uniform",
            "-o",
            quotas,
            "-q",
            "--force",
        ]
        select = [*dprune, "select", quotas, "--by", "el2n", "-o", kept, "-q", "--force"]
        for turn in range(2):
            # Ours first: the peak of all children only ever grows.
            ours = [run(quota), run(select)]
            peak = max(memory for _, memory in ours)
            theirs = run([python, "-c", ORACLE, table, f"{folder}/duck.parquet"])
            seconds = sum(time for time, _ in ours)
            print(
                f"{rows} rows: quota {ours[0][0]:.1f} s + select {ours[1][0]:.1f} s = {seconds:.1f} s, "
                + (f"peak {peak:.2f} GB (<= 1.5); " if turn == 0 else "")
                + f"DuckDB {theirs[0]:.1f} s: {seconds / theirs[0]:.2f}x (< 1)"
            )


if __name__ == "__main__":
    main()
