"""Scores from files that other tools made, and files that do not fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_data import SIZES, VALIDATION_SIZES, make_keys
from toy_stages import column, run_score

from dprune_cli.core.errors import DataError, UsageError

KEYS = make_keys()
LABELS = np.repeat(np.arange(4), SIZES)


def write_trajectory(path, *, epochs=3, classes=4, keys=KEYS, labels=LABELS, **columns):
    count = len(keys)
    logits = np.random.default_rng(0).normal(size=(epochs * count, classes)).astype(np.float32)
    data = {
        "key": list(keys) * epochs,
        "label": np.tile(labels, epochs),
        "epoch": np.repeat(np.arange(epochs), count),
        "logits": logits.tolist(),
        **columns,
    }
    pq.write_table(pa.table(data), path)
    return path, logits.reshape(epochs, count, classes)


def write_features(path, *, classes=4, logits=True, keys=KEYS, labels=LABELS):
    rng = np.random.default_rng(0)
    data = {"key": list(keys), "label": labels, "features": rng.normal(size=(len(keys), 5)).tolist()}
    if logits:
        data["logits"] = rng.normal(size=(len(keys), classes)).tolist()
    pq.write_table(pa.table(data), path)
    return path


def test_a_file_without_phase_serves_both_and_epochs_may_start_at_0(image_folder, tmp_path):
    path, logits = write_trajectory(tmp_path / "t.parquet")
    table = run_score([image_folder], "aum", "entropy", "el2n:epoch=1", from_trajectory=path).table
    own = logits[:, np.arange(40), LABELS]
    others = np.where(np.eye(4, dtype=bool)[LABELS], -np.inf, logits).max(2)
    np.testing.assert_allclose(column(table, "aum"), (own - others).mean(0), rtol=1e-5, atol=1e-6)
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    np.testing.assert_allclose(column(table, "entropy"), -(p[2] * np.log(p[2])).sum(1), rtol=1e-5)
    expected = np.linalg.norm(p[0] - np.eye(4)[LABELS], axis=1)
    np.testing.assert_allclose(column(table, "el2n"), expected, rtol=1e-5)
    assert table.meta.scores["aum"]["epochs"] == 3


def test_runs_of_a_recording_are_averaged(image_folder, tmp_path):
    path, _ = write_trajectory(tmp_path / "t.parquet", epochs=4, run=np.repeat([3, 8], 80))
    # Epochs 0 and 1 are run 3, epochs 2 and 3 run 8, so every run lacks two of the four.
    with pytest.raises(DataError, match=r"aum needs training visits of epoch 3; .* has none \(run 3\)"):
        run_score([image_folder], "aum", runs=2, from_trajectory=path)
    epochs = np.tile(np.repeat([0, 1], 40), 2)
    path, logits = write_trajectory(tmp_path / "t.parquet", epochs=4, run=np.repeat([3, 8], 80), epoch=epochs)
    each = []
    for number, part in ((0, logits[:2]), (1, logits[2:])):
        data = pq.read_table(path)
        alone = tmp_path / f"{number}.parquet"
        pq.write_table(data.slice(number * 80, 80), alone)
        table = run_score([image_folder], "aum", "el2n", from_trajectory=alone).table
        assert len(part) == 2 and table.meta.scores["el2n"]["runs"] == 1
        each.append([np.array(column(table, name)) for name in ("aum", "el2n")])
    both = run_score([image_folder], "aum", "el2n", runs=2, from_trajectory=path).table
    for place, name in enumerate(("aum", "el2n")):
        np.testing.assert_allclose(column(both, name), (each[0][place] + each[1][place]) / 2, rtol=1e-6)
    # Of its own accord AUM takes the first run, EL2N as many of its five as there are.
    usual = run_score([image_folder], "aum", "el2n", from_trajectory=path).table
    assert column(usual, "aum") == each[0][0].tolist() and column(usual, "el2n") == column(both, "el2n")
    with pytest.raises(DataError, match="holds fewer runs; give --runs 2"):
        run_score([image_folder], "aum", runs=3, from_trajectory=path)


def test_a_trajectory_of_other_classes_or_keys_or_labels(image_folder, tmp_path):
    path, _ = write_trajectory(tmp_path / "t.parquet", classes=5)
    with pytest.raises(DataError, match=r"logits of 5 classes, but .*images has 4"):
        run_score([image_folder], "aum", from_trajectory=path)
    path, _ = write_trajectory(tmp_path / "t.parquet", classes=3)
    with pytest.raises(DataError, match="label 3 has no logit; there are 3"):
        run_score([image_folder], "aum", from_trajectory=path)
    path, _ = write_trajectory(tmp_path / "t.parquet", keys=KEYS[1:], labels=LABELS[1:])
    with pytest.raises(DataError, match=f"key '{KEYS[0]}' has no logits in epoch 0"):
        run_score([image_folder], "aum", from_trajectory=path)
    path, _ = write_trajectory(tmp_path / "t.parquet", labels=LABELS[::-1])
    with pytest.raises(DataError, match=f"key '{KEYS[0]}' has label 3, but the sample has 0"):
        run_score([image_folder], "aum", from_trajectory=path)
    path, _ = write_trajectory(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="windows of 10 epochs, this run has 3"):
        run_score([image_folder], "dyn_unc", from_trajectory=path)


def test_features_with_logits(image_folder, tmp_path):
    path = write_features(tmp_path / "f.parquet")
    with_data = run_score([image_folder], "entropy", "el2n", from_features=path).table
    alone = run_score([], "entropy", "el2n", from_features=path).table
    logits = np.array(pq.read_table(path)["logits"].to_pylist())
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = np.argsort(KEYS)
    for table, place in ((with_data, np.arange(40)), (alone, order)):
        np.testing.assert_allclose(column(table, "entropy"), -(p * np.log(p)).sum(1)[place], rtol=1e-5)
        expected = np.linalg.norm(p - np.eye(4)[LABELS], axis=1)
        np.testing.assert_allclose(column(table, "el2n"), expected[place], rtol=1e-5)
    assert with_data.meta.scores["el2n"]["runs"] == 1


@pytest.mark.parametrize("data", [True, False])
def test_features_cannot_stand_in_for_training(image_folder, tmp_path, data):
    path = write_features(tmp_path / "f.parquet")
    words = [image_folder] if data else []
    for name in ("aum", "forgetting"):
        with pytest.raises(
            DataError, match=rf"{name} needs training visits of epoch 1; .*f\.parquet has none"
        ):
            run_score(words, "entropy", name, from_features=path)
    with pytest.raises(UsageError, match=r"windows of 10 epochs, this run has 1; train longer$"):
        run_score(words, "dyn_unc", from_features=path)
    path = write_features(tmp_path / "g.parquet", logits=False)
    for name in ("entropy", "el2n"):
        with pytest.raises(DataError, match=rf"{name} needs logits, and .*g\.parquet has no column 'logits'"):
            run_score(words, name, from_features=path)
    assert column(run_score(words, "random", from_features=path).table, "random")


def test_features_of_other_classes_or_keys(image_folder, tmp_path):
    with pytest.raises(DataError, match="logits of 7 classes, but"):
        run_score([image_folder], "entropy", from_features=write_features(tmp_path / "f.parquet", classes=7))
    with pytest.raises(DataError, match="label 3 has no logit"):
        run_score([], "entropy", from_features=write_features(tmp_path / "f.parquet", classes=2))
    path = write_features(tmp_path / "f.parquet", keys=KEYS[:-1], labels=LABELS[:-1])
    with pytest.raises(DataError, match=f"key '{KEYS[-1]}' has no features"):
        run_score([image_folder], "entropy", from_features=path)


def test_features_of_a_class_without_samples(validation_shards, tmp_path):
    """Without logits the number of classes comes from DATA, where the last class is empty."""
    keys, labels = make_keys(VALIDATION_SIZES), np.repeat(np.arange(4), VALIDATION_SIZES)
    path = write_features(tmp_path / "f.parquet", logits=False, keys=keys, labels=labels)
    table = run_score([validation_shards], "random", from_features=path).table
    assert len(table.meta.classes) == 4 and sorted(column(table, "key")) == sorted(keys)
