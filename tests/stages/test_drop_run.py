from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from tiny_data import SIZES
from toy_stages import Told, run_score, run_train

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError


def history(run):
    return pq.read_table(run / "history.parquet").to_pylist()


def test_a_run_with_drop(image_folder, validation_folder, tmp_path):
    options = {"sampler": "drop:period=1,missing_class=mean", "keep": "0.5", "val": [validation_folder]}
    run_train([image_folder], tmp_path / "run", **options)
    rows = history(tmp_path / "run")
    assert rows[0]["class_visited"] == [size // 2 for size in SIZES]
    assert [sum(row["class_visited"]) for row in rows] == [20, 20, 20]
    told = Told()
    with pytest.raises(DataError, match="validation has no sample of 'dog'"):
        run_train([image_folder], tmp_path / "other", told, **{**options, "sampler": "drop"})
    assert not any(line.startswith("epoch") for line in told.passes)


def test_a_run_with_drop_over_groups(shard_folder, validation_shards, tmp_path):
    options = {"sampler": "drop:period=1,by=group", "keep": "0.5", "val": [validation_shards]}
    run_train([shard_folder], tmp_path / "run", reading=DataConfig(group_field="place"), **options)
    rows = history(tmp_path / "run")
    # Every third of the rows of each shard is on water.
    assert len(rows[0]["group_visited"]) == 2
    assert all(sum(row["group_visited"]) == 20 == sum(row["class_visited"]) for row in rows)


def test_validation_data_are_read_as_the_table_says(shard_folder, validation_shards, tmp_path):
    scored = run_score([shard_folder], "random", reading=DataConfig(group_field="place")).table
    options = {"sampler": "drop:period=1,by=group", "keep": "0.5", "val": [validation_shards]}
    run_train([shard_folder], tmp_path / "run", table=scored, **options)
    assert all(len(row["group_error"]) == 2 for row in history(tmp_path / "run"))
