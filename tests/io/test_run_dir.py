from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dprune_cli.core.errors import DataError
from dprune_cli.io.run_dir import (
    CONFIG,
    WEIGHTS,
    RunConfig,
    file_digest,
    is_run,
    read_config,
    read_run,
    write_history,
)

RUN = RunConfig(
    model="tiny",
    classes=["a", "ö"],
    image_size=32,
    groups=["g"],
    training={"epochs": 3, "clip_norm": None, "lr": 0.1, "init": Path("w.safetensors")},
    data={"root": ["x"], "samples": 7},
)


def test_a_configuration_comes_back(tmp_path):
    RUN.write(tmp_path)
    found = read_config(tmp_path)
    expected = dataclasses.replace(RUN, training={**RUN.training, "init": "w.safetensors"})
    assert found == expected
    found.write(tmp_path)
    assert read_config(tmp_path) == expected


def test_the_file_is_readable_json(tmp_path):
    RUN.write(tmp_path)
    text = (tmp_path / CONFIG).read_text("utf-8")
    assert text.endswith("}\n") and "ö" in text
    assert json.loads(text)["image_size"] == 32


def test_a_run_has_a_configuration_and_weights(tmp_path):
    assert not is_run(tmp_path) and not is_run(tmp_path / "none")
    with pytest.raises(DataError, match="this is no run folder"):
        read_run(tmp_path)
    RUN.write(tmp_path)
    assert is_run(tmp_path)
    with pytest.raises(DataError, match=r"this is no run folder \(config.json and model.safetensors"):
        read_run(tmp_path)
    (tmp_path / WEIGHTS).touch()
    assert read_run(tmp_path).classes == ["a", "ö"]


def test_other_versions_and_other_files(tmp_path):
    dataclasses.replace(RUN, format=2).write(tmp_path)
    with pytest.raises(DataError, match="run format 2 is not 1; train it again"):
        read_config(tmp_path)
    for text in ("", "{", "[1]", '{"model": "tiny"}', '"text"'):
        (tmp_path / CONFIG).write_text(text)
        with pytest.raises(DataError, match=r"config\.json: this is no run configuration"):
            read_config(tmp_path)
    (tmp_path / CONFIG).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="this is no run configuration"):
        read_config(tmp_path)


def test_unknown_keys_are_passed_over(tmp_path):
    RUN.write(tmp_path)
    values = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**values, "colour": "red"}))
    assert read_config(tmp_path).model == "tiny"


def test_history(tmp_path):
    row = {
        "epoch": 1,
        "seconds": 0.5,
        "visited": 3,
        "loss": 1.5,
        "lr": 0.1,
        "class_visited": [2, 1],
        "class_loss": [1.0, 3.5],
    }
    write_history(
        tmp_path / "h.parquet", [row, {**row, "epoch": 2, "val_accuracy": 0.5, "val_worst_class": 0.0}]
    )
    found = pq.read_table(tmp_path / "h.parquet").to_pylist()
    assert found[0] == {**dict.fromkeys(found[0]), **row}
    assert found[1]["epoch"] == 2 and found[1]["val_accuracy"] == 0.5


def test_the_digest_tells_files_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # The published test vector.
    assert file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
