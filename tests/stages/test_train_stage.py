from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_data import CLASSES, SIZES, make_keys, write_folder
from toy_stages import Told, column, make_table, run_score, run_train, same_weights, training

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, Interrupted, UsageError
from dprune_cli.data import batch as batch_module
from dprune_cli.io.run_dir import read_run
from dprune_cli.io.table import ScoreTable, read_table
from dprune_cli.stages.train import TrainRequest, keep_fraction, stretched

KEYS = make_keys()
LABELS = np.repeat(range(4), SIZES)
# 15 of 40, in no order, and all classes but the last.
KEPT = [*KEYS[20:26], *KEYS[3:10][::-1], KEYS[33], KEYS[35]]


def keep_table(kept=KEPT, keys=KEYS, **columns):
    return make_table(keys, CLASSES, keep=[key in kept for key in keys], **columns)


def read_history(run):
    rows = pq.read_table(run / "history.parquet").to_pylist()
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]


# --- what a run folder holds


def test_the_run_folder(image_folder, validation_folder, tmp_path):
    told = Told()
    result = run_train([image_folder], tmp_path / "run", told, val=[validation_folder])
    names = {"model.safetensors", "config.json", "history.parquet", "table.parquet", "resume.pt"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["classes"] == CLASSES and config["image_size"] == 8
    assert config["model"] == "toy_models:dropout_net" and config["training"]["epochs"] == 3
    assert config["data"]["root"] == [str(image_folder)] and config["data"]["samples"] == 40
    history = read_history(tmp_path / "run")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert all(row["visited"] == 40 and row["class_visited"] == list(SIZES) for row in history)
    table = read_table(str(tmp_path / "run" / "table.parquet"))
    assert column(table, "visits") == [3] * 40
    # The last loss of every sample, as it was visited in the last epoch.
    assert sum(column(table, "loss")) == pytest.approx(sum(history[-1]["class_loss"]), rel=1e-5)
    assert table.meta.steps[-1] == {"command": "train", "options": {"epochs": 3}}
    state = torch.load(tmp_path / "run" / "resume.pt", weights_only=True)
    assert state["epoch"] == 3
    assert result.summary == {
        "run": str(tmp_path / "run"),
        "samples": 40,
        "epochs": 3,
        "seconds": pytest.approx(result.summary["seconds"]),
        "loss": history[-1]["loss"],
        "val_accuracy": history[-1]["val_accuracy"],
        "val_worst_class": history[-1]["val_worst_class"],
    }
    assert told.warnings == []


def test_the_same_command_gives_the_same_bytes(image_folder, tmp_path):
    for name in "ab":
        run_train([image_folder], tmp_path / name)
    for file in ("model.safetensors", "config.json", "table.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_run_without_a_table_is_the_query_model_of_score(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "a")
    run_score([image_folder], "aum", save_model=tmp_path / "b")
    assert same_weights(tmp_path / "a", tmp_path / "b")


# --- the samples that are trained on


def test_only_kept_rows_are_decoded_and_trained(image_folder, tmp_path, monkeypatch):
    decoded = []
    real = batch_module.decode_image
    monkeypatch.setattr(
        batch_module, "decode_image", lambda raw, side: decoded.append(raw) or real(raw, side)
    )
    run_train([image_folder], tmp_path / "run", table=keep_table())
    assert len(decoded) == len(KEPT) == 15
    assert set(decoded) == {(image_folder / f"{key}.png").read_bytes() for key in KEPT}
    for row in read_history(tmp_path / "run"):
        assert row["class_visited"] == [7, 6, 2, 0]
    table = read_table(str(tmp_path / "run" / "table.parquet"))
    assert column(table, "key") == KEYS
    for row in table.data.to_pylist():
        assert row["visits"] == (3 if row["key"] in KEPT else 0)
        assert (row["loss"] is None) == (row["key"] not in KEPT)
    assert read_run(tmp_path / "run").data["samples"] == 15


def test_training_on_what_is_kept_equals_training_on_it_alone(image_folder, tmp_path):
    """Apart from the class that lost all its samples: the table knows of it, the folder does not."""
    alone = write_folder(tmp_path / "alone")
    for key in set(KEYS) - set(KEPT):
        (alone / f"{key}.png").unlink()
    table = make_table(KEPT, CLASSES)  # without `keep`, all its rows are kept
    run_train([image_folder], tmp_path / "a", table=keep_table())
    run_train([alone], tmp_path / "b", table=table)
    run_train([alone], tmp_path / "c", reading=DataConfig(classes=write_names(tmp_path)))
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert same_weights(tmp_path / "a", tmp_path / "c")


def write_names(folder):
    path = folder / "names.txt"
    path.write_text("".join(f"{name}\n" for name in CLASSES))
    return path


def test_classes_come_from_the_table(image_folder, tmp_path):
    names = ["dog", "bee", "emu", "cat", "ant"]
    run_train([image_folder], tmp_path / "run", table=make_table(KEPT, names))
    assert read_run(tmp_path / "run").classes == names
    assert read_history(tmp_path / "run")[0]["class_visited"] == [0, 6, 0, 2, 7]
    run_train([image_folder], tmp_path / "other", table=make_table(KEPT))
    assert read_run(tmp_path / "other").classes == CLASSES


def test_the_order_of_the_table_does_not_matter(image_folder, tmp_path):
    weight = dict(zip(KEYS, np.linspace(0.1, 2, 40), strict=True))
    for name, seed in (("a", None), ("b", 0)):
        keys = KEYS if seed is None else np.random.default_rng(seed).permutation(KEYS).tolist()
        table = keep_table(keys=keys, weight=[weight[key] for key in keys])
        run_train([image_folder], tmp_path / name, table=table)
    assert same_weights(tmp_path / "a", tmp_path / "b")


def test_rows_that_are_not_ok_are_never_trained_on(image_folder, tmp_path):
    status = ["decode_error" if key == KEPT[0] else "ok" for key in KEYS]
    run_train([image_folder], tmp_path / "a", table=keep_table(status=status))
    run_train([image_folder], tmp_path / "b", table=keep_table(KEPT[1:]))
    assert same_weights(tmp_path / "a", tmp_path / "b")


def test_a_duplicate_row_was_not_visited(image_folder, tmp_path):
    """Its key is that of a sample that was."""
    status = ["ok"] * 40 + ["duplicate_key"]
    table = make_table([*KEYS, KEYS[5]], CLASSES, keep=[True] * 41, status=status)
    run_train([image_folder], tmp_path / "run", table=table)
    found = read_table(str(tmp_path / "run" / "table.parquet"))
    assert column(found, "visits") == [3] * 40 + [0] and column(found, "loss")[40] is None


def test_weights_of_samples(image_folder, tmp_path):
    """Weights belong to keys; 0 leaves a sample without influence (no batch norm in this model)."""
    config = training(model="toy_models:linear_net")
    weight = [0.0 if key in KEPT[:4] else 1.5 for key in KEYS]
    run_train([image_folder], tmp_path / "a", table=keep_table(weight=weight), config=config)
    other = write_folder(tmp_path / "other")
    for key in KEPT[:4]:
        (other / f"{key}.png").write_bytes((image_folder / f"{KEYS[39]}.png").read_bytes())
    run_train([other], tmp_path / "b", table=keep_table(weight=weight), config=config)
    run_train([image_folder], tmp_path / "c", table=keep_table(), config=config)
    ones = keep_table(weight=[1.0 if key in KEPT else None for key in KEYS])
    run_train([image_folder], tmp_path / "d", table=ones, config=config)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")
    assert same_weights(tmp_path / "c", tmp_path / "d")


@pytest.mark.parametrize("bad", [-0.5, None, float("inf"), float("nan")])
def test_weights_that_are_none(image_folder, tmp_path, bad):
    weight = [bad if key == KEPT[2] else 1.0 for key in KEYS]
    told = Told()
    with pytest.raises(DataError, match="T: column 'weight' holds"):
        run_train([image_folder], tmp_path / "run", told, table=keep_table(weight=weight))
    assert told.passes == [] and not (tmp_path / "run").exists()


def test_tables_that_do_not_fit(image_folder, tmp_path):
    def refuse(match, table):
        with pytest.raises(DataError, match=match):
            run_train([image_folder], tmp_path / "run", table=table)

    refuse(
        r"T: 2 of its kept samples are not in DATA, or not usable there \(first 'emu/00'\)",
        make_table([*KEYS, "emu/00", "emu/01"], CLASSES),
    )
    refuse("T: it keeps no sample", keep_table(()))
    refuse("T: it keeps no sample", make_table(KEYS, keep=pa.array([None] * 40, pa.bool_())))
    refuse("1 keys stand in it more than once", make_table([*KEYS, KEYS[5]]))
    nameless = make_table(KEYS)
    nameless = ScoreTable(nameless.data.rename_columns(["name"]), nameless.meta, "T")
    refuse("T: there is no column 'key'", nameless)
    refuse("all 7 samples are of one class, 'ant'", keep_table(KEYS[3:10]))
    # Keys that are not kept need not be in DATA.
    run_train([image_folder], tmp_path / "run", table=keep_table(keys=[*KEYS, "emu/00"]))


# --- schedules


@pytest.mark.parametrize(
    ("stretch", "kept", "total", "epochs", "expected"),
    [
        ("none", 3, 10, 30, 30),
        ("iterations", 3, 10, 30, 100),
        ("iterations", 3, 10, 1, 3),  # 3 1/3
        ("iterations", 4, 10, 1, 3),  # 2 1/2, half up
        ("iterations", 10, 10, 7, 7),
        ("drop", 5, 10, 160, 240),  # 1.5 E
        ("drop", 1, 10, 160, 880),  # 5.5 E
        ("drop", 3, 10, 30, 65),  # 0.65 / 0.3 = 2 1/6
        ("drop", 3, 10, 5, 10),  # 10 5/6, cut off
        ("drop", 1, 40, 30, 615),  # 614.9999999999999 in float arithmetic
        ("drop", 10, 10, 7, 7),
    ],
)
def test_stretched_schedules(stretch, kept, total, epochs, expected):
    table = make_table([str(number) for number in range(total)])
    request = TrainRequest(
        data=["x"], out=None, training=training(epochs=epochs), table=table, stretch=stretch
    )
    density = keep_fraction(table, kept)
    assert density == Fraction(kept, total)
    assert stretched(request, density).epochs == expected
    exact = {"none": Fraction(1), "iterations": 1 / density, "drop": (1 + density) / (2 * density)}[stretch]
    assert math.floor(exact * epochs) <= expected <= math.ceil(exact * epochs)


def test_the_keep_fraction_is_of_what_could_be_kept():
    assert keep_fraction(None, 7) == 1
    table = make_table(["a", "b", "c", "d"], status=["ok", "ok", "ok", "decode_error"])
    assert keep_fraction(table, 1) == Fraction(1, 3)


def test_a_stretched_run(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "run", table=keep_table(), stretch="iterations")
    # 15 of 40 kept: 3 x 40 / 15 = 8 epochs of 2 steps.
    assert len(read_history(tmp_path / "run")) == 8
    config = read_run(tmp_path / "run")
    assert config.training["epochs"] == 8 and config.data["stretch"] == "iterations"
    table = read_table(str(tmp_path / "run" / "table.parquet"))
    assert table.meta.steps[-1]["options"] == {"epochs": 8}
    assert max(column(table, "visits")) == 8


# --- weighters


def test_a_weighter_needs_validation_data(image_folder, validation_folder, tmp_path):
    with pytest.raises(UsageError, match="--weighter cdb_w goes by recall on validation data; give --val"):
        run_train([image_folder], tmp_path / "run", weighter="cdb_w")
    with pytest.raises(UsageError, match="--weighter batch_mean goes by weights; give --table"):
        run_train([image_folder], tmp_path / "run", weighter="batch_mean")
    with pytest.raises(UsageError, match="there is no weighter called 'cdb'"):
        run_train([image_folder], tmp_path / "run", weighter="cdb")
    for name, weighter in (("a", "cdb_w"), ("b", None)):
        run_train([image_folder], tmp_path / name, weighter=weighter, val=[validation_folder])
    assert not same_weights(tmp_path / "a", tmp_path / "b")
    first, second = (read_history(tmp_path / name) for name in "ab")
    assert first[0]["loss"] == second[0]["loss"] and first[1]["loss"] != second[1]["loss"]


def test_validation_does_not_change_the_weights(image_folder, validation_folder, tmp_path):
    run_train([image_folder], tmp_path / "a")
    run_train([image_folder], tmp_path / "b", val=[validation_folder])
    assert same_weights(tmp_path / "a", tmp_path / "b")


# --- interrupted and repeated


@pytest.fixture
def whole(image_folder, validation_folder, tmp_path):
    """A run that was never interrupted, and the options to make it."""
    weight = np.linspace(0.5, 1.5, 40)
    options = {"table": keep_table(weight=weight), "weighter": "cdb_w", "val": [validation_folder]}
    run_train([image_folder], tmp_path / "whole", **options)
    return tmp_path / "whole", options


def interrupt(data, out, epoch, **options):
    with pytest.raises(Interrupted):
        run_train(data, out, Told(f"epoch {epoch}/3"), **options)
    assert not out.exists()


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("force", [False, True])
def test_the_same_command_finishes_an_interrupted_run(image_folder, tmp_path, whole, epoch, force):
    expected, options = whole
    out = tmp_path / "run"
    interrupt([image_folder], out, epoch, force=force, **options)
    told = Told()
    run_train([image_folder], out, told, force=force, **options)
    epochs = [what for what in told.passes if what.startswith("epoch")]
    assert epochs == [f"epoch {number}/3" for number in range(epoch, 4)]
    for file in ("model.safetensors", "config.json", "table.parquet"):
        assert (out / file).read_bytes() == (expected / file).read_bytes(), file
    assert read_history(out) == read_history(expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "whole"]


OTHER = {
    "config": lambda options: {"config": training(lr=0.06)},
    "seed": lambda options: {"config": training(seed=1)},
    "weighter": lambda options: {"weighter": None},
    "val": lambda options: {"val": []} | {"weighter": None},
    "stretch": lambda options: {"stretch": "iterations"},
    "kept": lambda options: {"table": keep_table([KEYS[0], *KEPT[1:]], weight=np.linspace(0.5, 1.5, 40))},
    "weights": lambda options: {"table": keep_table(weight=np.linspace(0.5, 1.6, 40))},
    "no weights": lambda options: {"table": keep_table()},
}


@pytest.mark.parametrize("name", OTHER)
def test_other_options_do_not_continue_a_run(image_folder, tmp_path, whole, name):
    _, options = whole
    out = tmp_path / "run"
    interrupt([image_folder], out, 2, **options)
    other = {**options, **OTHER[name](options)}
    with pytest.raises(
        UsageError, match=r"\.run\.part holds an unfinished run with other options or data; repeat"
    ):
        run_train([image_folder], out, **other)
    told = Told()
    run_train([image_folder], out, told, force=True, **other)
    assert next(what for what in told.passes if what.startswith("epoch")).startswith("epoch 1/")
    run_train([image_folder], tmp_path / "fresh", **other)
    assert same_weights(out, tmp_path / "fresh")


def test_another_table_that_keeps_as_many_does_not_continue_a_run(image_folder, tmp_path):
    interrupt([image_folder], tmp_path / "run", 2, table=keep_table())
    with pytest.raises(UsageError, match="unfinished run with other options or data"):
        run_train([image_folder], tmp_path / "run", table=keep_table([KEYS[0], *KEPT[1:]]))


def test_the_refused_run_can_still_be_finished(image_folder, tmp_path, whole):
    expected, options = whole
    interrupt([image_folder], tmp_path / "run", 2, **options)
    with pytest.raises(UsageError, match="unfinished run"):
        run_train([image_folder], tmp_path / "run", config=training(lr=0.06), **options)
    run_train([image_folder], tmp_path / "run", **options)
    assert same_weights(tmp_path / "run", expected)


def test_a_finished_run_is_not_overwritten(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    told = Told()
    with pytest.raises(UsageError, match="exists already; give --force"):
        run_train([image_folder], tmp_path / "run", told, config=training(seed=1))
    assert told.passes == []
    # An interrupted replacement leaves the old run where it is.
    with pytest.raises(Interrupted):
        run_train([image_folder], tmp_path / "run", Told("epoch 2/3"), config=training(seed=1), force=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    run_train([image_folder], tmp_path / "run", config=training(seed=1), force=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_starting_from_weights(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "a", config=training(epochs=1))
    init = tmp_path / "a" / "model.safetensors"
    run_train(
        [image_folder], tmp_path / "b", config=training(epochs=1, lr=1e-12, weight_decay=0.0, init=init)
    )
    first, second = (read_history(tmp_path / name)[0]["loss"] for name in "ab")
    assert second < first
    assert read_run(tmp_path / "b").training["init"] == str(init)
    with pytest.raises(Interrupted):
        run_train([image_folder], tmp_path / "c", Told("epoch 2/3"), config=training(init=init))
    run_train([image_folder], tmp_path / "c", config=training(init=init))
    run_train([image_folder], tmp_path / "d", config=training(init=init))
    assert same_weights(tmp_path / "c", tmp_path / "d")


def test_broken_images_are_left_out(tmp_path):
    folder = write_folder(tmp_path / "images")
    (folder / f"{KEYS[4]}.png").write_bytes(b"this is no image")
    result = run_train([folder], tmp_path / "run")
    assert result.summary["samples"] == 39
    table = read_table(str(tmp_path / "run" / "table.parquet"))
    row = table.data.to_pylist()[4]
    assert (row["status"], row["visits"], row["loss"]) == ("decode_error", 0, None)
