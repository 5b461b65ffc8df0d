from __future__ import annotations

import numpy as np
import pyarrow as pa

from dprune_cli.io.trajectory import Pass, Trajectory, TrajectoryWriter


def test_what_was_read_does_not_stay_in_memory(tmp_path):
    path, rng = tmp_path / "trajectory.parquet", np.random.default_rng(0)
    keys, labels = [f"{row:05}" for row in range(5000)], np.arange(5000) % 40
    with TrajectoryWriter(path, 40) as writer:
        for epoch in range(1, 17):
            writer.write(keys, labels, Pass(0, epoch, "train"), rng.random((5000, 40), np.float32))
    size = path.stat().st_size
    recorded = Trajectory(path)
    before = pa.total_allocated_bytes()
    rows = 0
    for _, part, _ in recorded.read(0):
        rows += len(part)
    assert rows == 80_000 and pa.total_allocated_bytes() - before < size / 3
