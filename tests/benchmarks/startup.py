"""Start-up of `--help`, `quota` and a table-only `select` against `import typer, rich`, in one run.

Budgets of whole processes: <= 4x for `--help`, <= 6x for `quota` and `select`.

    python tests/benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq

REPEAT = 15


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        table, quotas = f"{folder}/t.parquet", f"{folder}/q.parquet"
        schema = pa.schema([("key", pa.string()), ("label", pa.int32()), ("score", pa.float32())])
        columns = {"key": [f"k{row}" for row in range(1000)], "label": [row % 7 for row in range(1000)]}
        pq.write_table(pa.table({**columns, "score": [float(row) for row in range(1000)]}, schema), table)
        dprune = [python, "-m", "dprune_cli"]
        quota = [*dprune, "quota", table, "--keep", "0.5", "--method", "balanced", "-o", quotas, "--force"]
        select = [*dprune, "select", table, "--by", "score", "--keep", "0.5", "-o", f"{folder}/s", "--force"]
        commands = {
            "import typer, rich": [python, "-c", "import typer, rich"],
            "dprune --help (<= 4x)": [*dprune, "--help"],
            "dprune quota (<= 6x)": quota,
            "dprune select (<= 6x)": select,
        }
        for command in commands.values():
            seconds(command)
        # In turn, so that a change of the machine's speed hits all of them.
        times = [{name: seconds(command) for name, command in commands.items()} for _ in range(REPEAT)]
    base = "import typer, rich"
    for name in commands:
        ratio = statistics.median(row[name] / row[base] for row in times)
        print(f"{name}: {1000 * statistics.median(row[name] for row in times):.0f} ms, {ratio:.2f}x")


if __name__ == "__main__":
    main()
