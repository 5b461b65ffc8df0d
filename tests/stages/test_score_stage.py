from __future__ import annotations

import json
import os

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tiny_data import CLASSES, SIZES, as_png, make_images, make_keys, write_folder
from toy_stages import Told, column, run_evaluate, run_score, table_bytes, training

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.keys import draw_seed, hash_keys, uniform
from dprune_cli.io.run_dir import read_run
from dprune_cli.io.table import read_table, write_table

ALL = ["random", "el2n:epoch=2", "forgetting", "aum", "entropy", "dyn_unc:window=2"]
NAMES = [spec.partition(":")[0] for spec in ALL]


@pytest.fixture(scope="module")
def recorded(image_folder, tmp_path_factory):
    """All scores of two runs from one training, and the recordings made meanwhile."""
    folder = tmp_path_factory.mktemp("recorded")
    result = run_score(
        [image_folder],
        *ALL,
        runs=2,
        record_trajectory=folder / "t.parquet",
        record_features=folder / "f.parquet",
        save_model=folder / "run",
    )
    return folder, result.table


def test_every_usable_sample_has_every_score(recorded):
    _, table = recorded
    assert column(table, "key") == make_keys()
    assert column(table, "label") == np.repeat(range(4), SIZES).tolist()
    for name in NAMES:
        values = np.array(column(table, name), float)
        assert np.isfinite(values).all() and len(set(values)) > 1, name
        assert str(table.data[name].type) == "float"


def test_recording_and_keeping_the_model_are_free(recorded, image_folder):
    bare = run_score([image_folder], *ALL, runs=2).table
    for name in NAMES:
        assert column(bare, name) == column(recorded[1], name)


@pytest.mark.parametrize("spec", ALL)
def test_every_score_is_the_same_alone_and_together(recorded, image_folder, spec):
    alone = run_score([image_folder], spec, runs=2).table
    name = spec.partition(":")[0]
    assert column(alone, name) == column(recorded[1], name)


def test_runs_are_averaged_over_their_own_values(recorded, image_folder, tmp_path):
    folder, both = recorded
    data = pq.read_table(folder / "t.parquet")
    each = []
    for run in (0, 1):
        path = tmp_path / f"{run}.parquet"
        pq.write_table(data.filter(pc.equal(data["run"], run)), path)
        each.append(run_score([image_folder], *ALL, runs=1, from_trajectory=path).table)
    live = run_score([image_folder], *ALL, runs=1).table
    for name in NAMES:
        first, second = (np.array(column(table, name)) for table in each)
        assert first.tolist() == column(live, name)
        assert (first == second).all() == (name == "random")
        np.testing.assert_allclose(column(both, name), (first + second) / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("permuted", [False, True])
def test_a_replay_equals_the_live_run_bit_for_bit(recorded, image_folder, tmp_path, permuted):
    folder, live = recorded
    path = folder / "t.parquet"
    if permuted:
        data = pq.read_table(path)
        path = tmp_path / "t.parquet"
        pq.write_table(data.take(np.random.default_rng(0).permutation(len(data))), path)
    for data in ([image_folder], []):
        replayed = run_score(data, *ALL, runs=2, from_trajectory=path).table
        for name in NAMES:
            assert replayed.data[name].combine_chunks().equals(live.data[name].combine_chunks()), name
        assert column(replayed, "key") == column(live, "key")
        assert column(replayed, "label") == column(live, "label")
    # And with other parameters, without training anew.
    again = run_score([image_folder], "dyn_unc:window=3", runs=1, from_trajectory=path).table
    assert again.meta.scores["dyn_unc"]["parameters"]["window"] == 3


def test_a_replay_says_where_it_comes_from(recorded, image_folder):
    folder, live = recorded
    table = run_score([image_folder], "aum", from_trajectory=folder / "t.parquet").table
    about = table.meta.scores["aum"]
    assert about["recording"] == str(folder / "t.parquet") and about["epochs"] == 3 and about["runs"] == 1
    assert table.meta.fingerprint == live.meta.fingerprint and table.meta.classes == CLASSES
    alone = run_score([], "aum", from_trajectory=folder / "t.parquet").table
    assert alone.meta.root is None and alone.meta.classes == ["0", "1", "2", "3"]
    assert column(alone, "shard") == [None] * 40 and column(alone, "status") == ["ok"] * 40


def test_recorded_trajectory_holds_what_was_watched(recorded):
    data = pq.read_table(recorded[0] / "t.parquet")
    found = {
        (row["run"], row["epoch"], row["phase"]) for row in data.select(["run", "epoch", "phase"]).to_pylist()
    }
    passes = [(1, "train"), (2, "train"), (2, "probe"), (3, "train"), (3, "probe")]
    assert found == {(run, *one) for run in (0, 1) for one in passes}
    assert len(data) == 2 * 5 * 40


def test_recorded_features_give_the_first_runs_last_pass(recorded, image_folder):
    folder, _ = recorded
    data = pq.read_table(folder / "f.parquet")
    assert data.schema.field("features").type.list_size == 36 and len(data) == 40
    from_features = run_score([image_folder], "entropy", "el2n", "random", from_features=folder / "f.parquet")
    live = run_score([image_folder], "entropy", "el2n:epoch=3", "random", runs=1)
    for name in ("entropy", "el2n", "random"):
        assert column(from_features.table, name) == column(live.table, name)


def test_the_table_knows_what_made_it(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    table = run_score(["images"], "aum", "el2n:epoch=1", runs=2, config=training(seed=3)).table
    meta = json.loads(table.meta.dump())
    assert meta["root"] == "images" and meta["classes"] == CLASSES
    assert meta["scores"]["el2n"] == {
        "method": "el2n",
        "parameters": {"epoch": 1},
        "paper": "https://arxiv.org/abs/2107.07075",
        "keep_first": "high",
        "hard_end": "high",
        "runs": 2,
        "seeds": [3],
        "watches": ["probe"],
        "model": "toy_models:dropout_net",
        "epochs": 3,
    }
    (step,) = meta["steps"]
    assert step["command"] == "score"
    options = step["options"]
    assert options["methods"] == ["aum", "el2n:epoch=1"]
    assert (options["seed"], options["runs"], options["epochs"]) == (3, 2, 3)
    assert options["model"] == "toy_models:dropout_net" and options["image_size"] == 8
    assert options["training"]["lr"] == training().lr and options["training"]["flip"] is True
    assert str(image_folder.parent) not in table.meta.dump().decode()
    other = run_score(["images"], "aum", runs=2, config=training(seed=3, flip=False)).table
    assert other.meta.steps[0]["options"]["training"]["flip"] is False


def test_the_same_command_writes_the_same_bytes(image_folder, tmp_path):
    paths = []
    for name, workers in (("a", 1), ("b", 3)):
        table = run_score([image_folder], *ALL, reading=DataConfig(workers=workers)).table
        paths.append(tmp_path / f"{name}.parquet")
        write_table(table, str(paths[-1]))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    other = run_score([image_folder], *ALL, config=training(seed=1)).table
    assert table_bytes(other) != paths[0].read_bytes()


def test_shards_and_folders_score_alike_up_to_the_order_of_rows(image_folder, shard_folder):
    """The order of training follows row numbers, so only what needs no training is the same."""
    shards = run_score([shard_folder], "random").table
    folder = run_score([image_folder], "random").table
    assert dict(zip(column(shards, "key"), column(shards, "random"), strict=True)) == dict(
        zip(column(folder, "key"), column(folder, "random"), strict=True)
    )


def test_resident_and_streaming_score_alike(image_folder, recorded):
    streamed = run_score([image_folder], *ALL, runs=2, reading=DataConfig(cache_memory="0")).table
    for name in NAMES:
        assert column(streamed, name) == column(recorded[1], name)


def test_random_needs_no_training(image_folder):
    told = Told()
    table = run_score([image_folder], "random", progress=told, config=training(seed=9)).table
    assert told.passes == []
    keys = make_keys()
    assert (
        column(table, "random")
        == uniform(hash_keys(keys, draw_seed(9, hash_keys(keys)))).astype(np.float32).tolist()
    )
    assert table.meta.scores["random"]["runs"] == 1


def test_training_stops_where_nobody_watches(image_folder):
    told = Told()
    run_score([image_folder], "el2n:epoch=1", runs=2, progress=told)
    assert [what for what in told.passes if what.startswith("epoch")] == ["epoch 1/3"] * 2
    told = Told()
    run_score([image_folder], "el2n:epoch=1", runs=2, progress=told, val=[str(image_folder)])
    assert [what for what in told.passes if what.startswith("epoch")] == [
        *("epoch 1/3", "epoch 2/3", "epoch 3/3"),
        "epoch 1/3",
    ]
    assert told.notes == ["run 1 of 2", "run 2 of 2"]


def test_the_saved_model_is_what_val_measured(image_folder, validation_folder, tmp_path):
    result = run_score([image_folder], "aum", save_model=tmp_path / "run", val=[str(validation_folder)])
    _, (found,) = run_evaluate([tmp_path / "run"], [validation_folder])
    assert found.summary.accuracy == result.validation.accuracy
    assert found.summary.recall.tolist()[:3] == result.validation.recall.tolist()[:3]
    assert np.isnan(result.validation.recall[3])
    config = read_run(tmp_path / "run")
    assert config.classes == CLASSES and config.image_size == 8 and config.model == "toy_models:dropout_net"
    assert read_table(str(tmp_path / "run" / "table.parquet")).meta == result.table.meta
    assert len(pq.read_table(tmp_path / "run" / "history.parquet")) == 3


def test_keeping_the_model_does_not_change_with_the_scores(image_folder, tmp_path):
    run_score([image_folder], "random", save_model=tmp_path / "a")
    run_score([image_folder], *ALL, runs=2, save_model=tmp_path / "b")
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first == second


def test_broken_samples_have_a_status_and_no_score(tmp_path):
    folder = write_folder(tmp_path / "images")
    (folder / "bee" / "03.png").write_bytes(b"this is no image")
    (folder / "cat" / "01.png").write_bytes(b"")
    live = run_score([folder], *ALL, runs=1, record_trajectory=tmp_path / "t.parquet").table
    bad = {"bee/03": "decode_error", "cat/01": "empty_image"}
    for row in live.data.to_pylist():
        assert row["status"] == bad.get(row["key"], "ok")
        for name in NAMES:
            assert (row[name] is None) == (row["key"] in bad)
    assert len(pq.read_table(tmp_path / "t.parquet", columns=["key"])) == 38 * 5
    # The recording leaves the broken ones out, and the replay finds them again.
    replayed = run_score([folder], *ALL, runs=1, from_trajectory=tmp_path / "t.parquet").table
    for name in ("status", *NAMES):
        assert column(replayed, name) == column(live, name)
    unchecked = run_score([folder], "random", check=False).table
    assert column(unchecked, "status").count("ok") == 39
    checked = run_score([folder], "random").table
    assert column(checked, "status") == column(live, "status")


def test_a_shuffled_file_system_changes_nothing(image_folder, tmp_path, monkeypatch):
    expected = run_score([image_folder], "aum").table
    real = os.scandir

    class Reversed:
        def __init__(self, *args):
            self.entries = list(real(*args))[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __iter__(self):
            return iter(self.entries)

        def __exit__(self, *args):
            pass

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert table_bytes(run_score([image_folder], "aum").table) == table_bytes(expected)


def refuse(error, match, data, *methods, **options):
    told = Told()
    with pytest.raises(error, match=match) as caught:
        run_score(data, *methods, progress=told, **options)
    assert "\n" not in str(caught.value)
    assert told.passes == [], "it trained before it complained"


def test_mistakes_are_found_before_training(image_folder, tmp_path):
    data = [image_folder]
    refuse(UsageError, "windows of 10 epochs, this run has 3", data, "aum", "dyn_unc")
    refuse(UsageError, "el2n:epoch=4 lies outside the schedule of 3", data, "el2n:epoch=4")
    refuse(UsageError, "no score called", data, "nonsense")
    refuse(UsageError, "at least one score", data)
    refuse(UsageError, "--runs 0", data, "aum", runs=0)
    refuse(UsageError, "--epochs 0", data, "aum", config=training(epochs=0))
    refuse(UsageError, "name the DATA", [], "aum")
    refuse(UsageError, "goes with --from-features", data, "aum", from_val_features=tmp_path / "a")
    refuse(UsageError, "give --val DATA", data, "aum", record_val_features=tmp_path / "a")
    refuse(UsageError, "--grad-memory lots: write an amount of memory", data, "aum", grad_memory="lots")
    refuse(UsageError, "nothing is trained", data, "aum", from_trajectory=tmp_path / "a", val=["x"])
    for option in ("record_trajectory", "record_features", "record_val_features", "save_model"):
        (tmp_path / option).write_text("mine")
        options = {option: tmp_path / option, "val": data}
        refuse(UsageError, "exists already|is a file", data, "aum", **options)
        assert (tmp_path / option).read_text() == "mine"


def test_validation_data_are_looked_at_before_training(image_folder, tmp_path):
    refuse(DataError, "nowhere", [image_folder], "aum", val=[str(tmp_path / "nowhere")])


def test_one_class_is_nothing_to_learn(tmp_path):
    _, pixels = make_images((3, 2))
    (tmp_path / "images" / "ant").mkdir(parents=True)
    for row in range(3):
        (tmp_path / "images" / "ant" / f"{row}.png").write_bytes(as_png(pixels[row]))
    refuse(DataError, "all 3 samples are of one class, 'ant'", [tmp_path / "images"], "aum")
    (tmp_path / "images" / "bee").mkdir()
    (tmp_path / "images" / "bee" / "x.png").write_bytes(b"no image")
    refuse(DataError, "all 3 samples are of one class, 'ant'", [tmp_path / "images"], "aum")
