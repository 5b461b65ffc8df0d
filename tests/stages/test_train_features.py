"""Training on recorded features, and training the head alone."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from feature_files import WIDTH, make_features, make_groups, write_features
from tiny_data import CLASSES, PLACES, SIZES, VALIDATION_SIZES, make_keys
from toy_stages import Told, column, load_weights, make_table, run_score, run_train, same_weights, training

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, Interrupted, UsageError
from dprune_cli.core.progress import Silent
from dprune_cli.io.run_dir import read_run
from dprune_cli.io.table import read_table
from dprune_cli.stages.evaluate import EvaluateRequest, evaluate

KEYS = make_keys()
LABELS, FEATURES = make_features()
KEPT = [*KEYS[20:26], *KEYS[3:10][::-1], KEYS[33], KEYS[35]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Features of 40 samples of four classes, with groups."""
    path = tmp_path_factory.mktemp("recorded") / "f.parquet"
    return write_features(path, group=make_groups(40))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """Features of 12 other samples, with groups."""
    path = tmp_path_factory.mktemp("recorded") / "v.parquet"
    return write_features(path, VALIDATION_SIZES, seed=1, group=make_groups(12))


def run_features(path, out, progress=None, data=(), config=None, **options):
    config = config or training(model=None)
    return run_train(data, out, progress, config, from_features=path, **{"head": "6", **options})


def run_evaluation(run, path, data=(), **options):
    request = EvaluateRequest(
        runs=[str(run)],
        data=[str(word) for word in data],
        from_features=path,
        reading=DataConfig(**options),
        device="cpu",
    )
    _, (found,) = evaluate(request, Silent())
    return found


def softmax(logits):
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def normalise(values):
    values = values.astype(np.float64)
    return (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + 1e-5)


def predict(run, values):
    """Logits of a run with one hidden layer, computed apart from it."""
    weights = load_weights(run)
    hidden = np.maximum(normalise(values) @ weights["1.weight"].T + weights["1.bias"], 0)
    return hidden @ weights["3.weight"].T + weights["3.bias"]


def history(run):
    rows = pq.read_table(run / "history.parquet").to_pylist()
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]


# --- what is trained


def test_one_step_of_a_linear_classifier_by_hand(recorded, tmp_path):
    settings = {"epochs": 1, "batch_size": 64, "weight_decay": 0.0, "lr": 0.2}
    starts = training(model=None, **{**settings, "lr": 1e-30})
    run_features(recorded, tmp_path / "start", head="none", config=starts)
    run_features(recorded, tmp_path / "run", head="none", config=training(model=None, **settings))
    start, end = load_weights(tmp_path / "start"), load_weights(tmp_path / "run")
    seen = normalise(FEATURES)
    error = softmax(seen @ start["1.weight"].T + start["1.bias"]) - np.eye(4)[LABELS]
    # The first step of Nesterov momentum 0.9 is 1.9 gradients long.
    for name, gradient in (("1.weight", error.T @ seen / 40), ("1.bias", error.mean(0))):
        np.testing.assert_allclose(end[name], start[name] - 1.9 * 0.2 * gradient, rtol=1e-4, atol=1e-6)


def test_the_run_folder(recorded, validation, tmp_path):
    told = Told()
    result = run_features(recorded, tmp_path / "run", told, from_val_features=validation)
    names = {"model.safetensors", "config.json", "history.parquet", "table.parquet", "resume.pt"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"], config["features"], config["image_size"]) == ("mlp:6", WIDTH, 0)
    assert config["classes"] == ["0", "1", "2", "3"] and config["groups"] == PLACES
    assert config["data"]["root"] == [] and config["data"]["samples"] == 40
    path, digest = config["data"]["from_features"]
    assert path == str(recorded) and len(digest) == 64
    assert config["data"]["from_val_features"][0] == str(validation)
    assert [row["class_visited"] for row in history(tmp_path / "run")] == [list(SIZES)] * 3
    table = read_table(str(tmp_path / "run" / "table.parquet"))
    assert column(table, "key") == KEYS and column(table, "label") == LABELS.tolist()
    groups = [None if name is None else PLACES.index(name) for name in make_groups(40)]
    assert column(table, "group") == groups and table.meta.groups == PLACES
    for name in ("shard", "offset", "size"):
        assert column(table, name) == [None] * 40
    assert column(table, "status") == ["ok"] * 40 and column(table, "visits") == [3] * 40
    assert sum(column(table, "loss")) == pytest.approx(
        sum(history(tmp_path / "run")[-1]["class_loss"]), rel=1e-5
    )
    assert table.meta.root is None and table.meta.classes == ["0", "1", "2", "3"]
    assert result.summary["samples"] == 40 and result.summary["val_accuracy"] > 0.5
    assert told.warnings == []


def test_the_same_command_gives_the_same_bytes(recorded, tmp_path):
    for name in "ab":
        run_features(recorded, tmp_path / name)
    for file in ("model.safetensors", "config.json", "table.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_data_say_which_samples_there_are(recorded, image_folder, shard_folder, tmp_path):
    run_features(recorded, tmp_path / "alone")
    run_features(recorded, tmp_path / "folder", data=[image_folder])
    assert same_weights(tmp_path / "alone", tmp_path / "folder")
    assert read_run(tmp_path / "folder").classes == CLASSES
    table = read_table(str(tmp_path / "folder" / "table.parquet"))
    assert column(table, "shard") == [f"{key}.png" for key in KEYS]
    assert table.meta.root == str(image_folder)
    # Groups that DATA are not asked for come from the file.
    assert table.meta.groups == PLACES and None in column(table, "group")
    reading = DataConfig(group_field="place")
    run_features(recorded, tmp_path / "shards", data=[shard_folder], reading=reading)
    assert None not in column(read_table(str(tmp_path / "shards" / "table.parquet")), "group")


def test_a_table_says_which_samples_are_kept(recorded, tmp_path):
    kept = [key in KEPT for key in KEYS]
    weight = np.linspace(0.1, 2, 40)
    table = make_table(KEYS[::-1], CLASSES, keep=kept[::-1], weight=weight)
    run_features(recorded, tmp_path / "a", table=table)
    part = write_features(tmp_path / "part.parquet", keep=KEPT)
    weights = dict(zip(KEYS[::-1], weight, strict=True))
    some = make_table(KEPT, CLASSES, weight=[weights[key] for key in KEPT])
    run_features(part, tmp_path / "b", table=some)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert read_run(tmp_path / "a").classes == CLASSES
    rows = read_table(str(tmp_path / "a" / "table.parquet")).data.to_pylist()
    assert [row["key"] for row in rows] == KEYS[::-1]
    assert {row["key"] for row in rows if row["visits"] == 3} == set(KEPT)
    assert all(row["visits"] == 0 for row in rows if row["key"] not in KEPT)


def test_a_table_of_other_samples(recorded, tmp_path):
    with pytest.raises(DataError, match=r"1 of its kept samples are not in .*f\.parquet.*first 'x'"):
        run_features(recorded, tmp_path / "run", table=make_table([*KEPT, "x"], CLASSES))
    table = make_table(KEYS, CLASSES, label=LABELS[::-1].copy())
    with pytest.raises(DataError, match=r"T: key 'ant/00' has label 3, but in .*f\.parquet it has 0"):
        run_features(recorded, tmp_path / "run", table=table)
    with pytest.raises(DataError, match=r"f\.parquet: label 3 is none of 3 classes"):
        run_features(recorded, tmp_path / "run", table=make_table(KEYS, CLASSES[:3]))
    assert list(tmp_path.glob("run")) == []


def test_names_of_classes(recorded, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("w\nx\ny\nz\n")
    run_features(recorded, tmp_path / "a", reading=DataConfig(classes=names))
    assert read_run(tmp_path / "a").classes == ["w", "x", "y", "z"]
    logits = np.zeros((40, 6)).tolist()
    more = write_features(tmp_path / "more.parquet", logits=logits)
    run_features(more, tmp_path / "b")
    assert read_run(tmp_path / "b").classes == list("012345")


# --- validation and samplers


def test_validation_features(recorded, validation, tmp_path):
    run_features(recorded, tmp_path / "run", from_val_features=validation)
    last = history(tmp_path / "run")[-1]
    labels, values = make_features(VALIDATION_SIZES, seed=1)
    right = predict(tmp_path / "run", values).argmax(1) == labels
    assert last["val_accuracy"] == pytest.approx(right.mean())
    assert last["val_worst_class"] == pytest.approx(min(right[labels == one].mean() for one in range(3)))
    run_features(recorded, tmp_path / "without")
    assert same_weights(tmp_path / "run", tmp_path / "without")


def test_who_goes_by_validation(recorded, validation, tmp_path):
    run_features(recorded, tmp_path / "plain")
    run_features(recorded, tmp_path / "cdb", from_val_features=validation, weighter="cdb_w")
    assert not same_weights(tmp_path / "plain", tmp_path / "cdb")
    sampler = {"sampler": "drop:period=1,missing_class=mean", "keep": "0.5"}
    run_features(recorded, tmp_path / "drop", from_val_features=validation, **sampler)
    assert sum(row["visited"] for row in history(tmp_path / "drop")) == 60
    for options in ({"weighter": "cdb_w"}, sampler):
        with pytest.raises(UsageError, match=r"or --from-val-features FILE with --from-features$"):
            run_features(recorded, tmp_path / "none", **options)


def test_validation_features_that_do_not_fit(recorded, tmp_path):
    def refuse(said, **columns):
        path = write_features(tmp_path / "v.parquet", VALIDATION_SIZES, **columns)
        with pytest.raises(DataError, match=said):
            run_features(recorded, tmp_path / "run", from_val_features=path)

    refuse(
        r"v\.parquet: its features are of length 2, those trained on of length 5", features=[[1.0, 2.0]] * 12
    )
    refuse(r"v\.parquet: label 4 is none of 4 classes", label=[4] * 12)


@pytest.mark.parametrize("by", ["class", "group"])
def test_rcap_on_features(recorded, tmp_path, by):
    path = recorded
    if by == "group":
        path = write_features(tmp_path / "f.parquet", group=[row % 3 for row in range(40)])
    result = run_features(path, tmp_path / "run", sampler=f"rcap:by={by}", keep="0.5")
    assert [row["visited"] for row in history(tmp_path / "run")] == [20] * 3
    assert result.summary["visited_fraction"] == 0.5
    visits = column(read_table(str(tmp_path / "run" / "table.parquet")), "visits")
    assert sum(visits) == 60


# --- resuming


def test_an_interrupted_run_goes_on(recorded, validation, tmp_path):
    options = {"from_val_features": validation, "sampler": "rcap", "keep": "0.5"}
    with pytest.raises(Interrupted):
        run_features(recorded, tmp_path / "run", Told("epoch 2/3"), **options)
    other = write_features(tmp_path / "other.parquet", group=make_groups(40))
    for changes in ({"head": "7"}, {"head": "none"}, {"path": other}, {"from_val_features": None}):
        with pytest.raises(UsageError, match="holds an unfinished run with other options or data"):
            run_features(**{"path": recorded, "out": tmp_path / "run", **options, **changes})
    told = Told()
    run_features(recorded, tmp_path / "run", told, **options)
    assert [what for what in told.passes if what.startswith("epoch")] == ["epoch 2/3", "epoch 3/3"]
    run_features(recorded, tmp_path / "whole", **options)
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_an_interrupted_run_notices_other_vectors(tmp_path):
    path = write_features(tmp_path / "f.parquet")
    with pytest.raises(Interrupted):
        run_features(path, tmp_path / "run", Told("epoch 2/3"))
    # The same numbers, each with the key of its neighbour: no size and no range is another.
    write_features(path, features=np.roll(FEATURES, 1, axis=0).tolist())
    with pytest.raises(UsageError, match="holds an unfinished run with other options or data"):
        run_features(path, tmp_path / "run")


def test_samples_without_features_are_tolerated_up_to_a_point(image_folder, tmp_path):
    path = write_features(tmp_path / "f.parquet", keep=set(KEYS) - {"ant/03"})
    options = {"data": [image_folder], "reading": DataConfig(max_errors="1")}
    run_features(path, tmp_path / "run", **options)
    table = read_table(str(tmp_path / "run" / "table.parquet"))
    assert column(table, "status").count("no_features") == 1
    assert column(table, "visits") == [3 * (key != "ant/03") for key in column(table, "key")]
    with pytest.raises(DataError, match=r"key 'ant/03' has no features \(1 samples like this\)"):
        run_features(path, tmp_path / "other", data=[image_folder])


def test_weights_of_another_run(recorded, tmp_path):
    run_features(recorded, tmp_path / "first")
    init = tmp_path / "first" / "model.safetensors"
    frozen = training(model=None, init=init, lr=1e-30, weight_decay=0.0)
    run_features(recorded, tmp_path / "second", config=frozen)
    assert same_weights(tmp_path / "first", tmp_path / "second")
    with pytest.raises(DataError, match="the model needs"):
        run_features(recorded, tmp_path / "third", head="7", config=frozen)
    told = Told()
    run_features(
        write_features(tmp_path / "more.parquet", logits=np.zeros((40, 6)).tolist()),
        tmp_path / "third",
        told,
        config=frozen,
    )
    assert told.notes == [f"{init} has other classes: 3.weight, 3.bias start afresh"]


# --- evaluation


@pytest.mark.parametrize("data", [True, False])
def test_predictions_and_figures(recorded, validation, validation_folder, tmp_path, data):
    words = [validation_folder] if data else []
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    run_features(recorded, tmp_path / "run", reading=DataConfig(classes=names))
    found = run_evaluation(tmp_path / "run", validation, words)
    labels, values = make_features(VALIDATION_SIZES, seed=1)
    logits = predict(tmp_path / "run", values)
    pred = logits.argmax(1)
    assert column(found.table, "key") == make_keys(VALIDATION_SIZES)
    assert column(found.table, "pred") == pred.tolist()
    loss = -np.log(softmax(logits)[np.arange(12), labels])
    np.testing.assert_allclose(column(found.table, "loss"), loss, rtol=1e-3, atol=1e-5)
    result = found.as_json()
    assert result["samples"] == 12 and result["accuracy"] == pytest.approx((pred == labels).mean())
    recall = {
        name: pytest.approx((pred == labels)[labels == one].mean()) for one, name in enumerate(CLASSES[:3])
    }
    assert result["recall"] == {**recall, "dog": None}
    groups = np.array(make_groups(12), object)
    accuracy = {name: pytest.approx((pred == labels)[groups == name].mean()) for name in PLACES}
    assert result["group_accuracy"] == accuracy
    assert result["worst_group"] == min(result["group_accuracy"].values())
    assert (column(found.table, "shard")[0] is None) != data


def test_groups_by_number(recorded, tmp_path):
    run_features(recorded, tmp_path / "run")
    path = write_features(tmp_path / "g.parquet", group=[10 if row % 2 else 9 for row in range(40)])
    found = run_evaluation(tmp_path / "run", path)
    assert list(found.as_json()["group_accuracy"]) == ["9", "10"]


def test_groups_of_data(recorded, validation, validation_shards, tmp_path):
    run_features(recorded, tmp_path / "run", table=make_table(KEYS, CLASSES))
    found = run_evaluation(tmp_path / "run", validation, [validation_shards], group_field="place")
    assert None not in column(found.table, "group")


def test_runs_of_the_other_kind(recorded, image_folder, tmp_path):
    run_train([image_folder], tmp_path / "images")
    run_features(recorded, tmp_path / "features")
    with pytest.raises(UsageError, match=r"was trained on images; name DATA in place of --from-features$"):
        run_evaluation(tmp_path / "images", recorded, [image_folder])
    with pytest.raises(UsageError, match="was trained on features; give --from-features FILE"):
        run_evaluation(tmp_path / "features", None, [image_folder])
    narrow = write_features(tmp_path / "n.parquet", features=FEATURES[:, :3].tolist())
    with pytest.raises(
        DataError, match=r"n\.parquet: its features are of length 3, those trained on of length 5"
    ):
        run_evaluation(tmp_path / "features", narrow)
    more = write_features(tmp_path / "m.parquet", label=(LABELS + 1).tolist())
    with pytest.raises(DataError, match=r"m\.parquet: label 4 is none of 4 classes"):
        run_evaluation(tmp_path / "features", more)


def test_recorded_classes_have_to_be_those_of_the_run(shard_folder, image_folder, tmp_path):
    config = training(epochs=1)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("a", "b")}
    run_score([shard_folder], "entropy", config=config, record_features=paths["a"])
    names = tmp_path / "names.txt"
    names.write_text("bee\nant\ncat\ndog\n")
    reading = DataConfig(classes=names)
    run_score([image_folder], "entropy", config=config, record_features=paths["b"], reading=reading)
    run_features(paths["a"], tmp_path / "run")
    assert read_run(tmp_path / "run").classes == CLASSES
    with pytest.raises(
        DataError, match=r"b\.parquet: its classes \(bee, ant, cat, \.\.\.\) are not the expected"
    ):
        run_evaluation(tmp_path / "run", paths["b"])


# --- the head alone


@pytest.fixture(scope="module")
def trained(image_folder, tmp_path_factory):
    """A run on images, to start from."""
    path = tmp_path_factory.mktemp("trained") / "run"
    run_train([image_folder], path)
    return path


def freezing(trained, **settings):
    return training(init=trained / "model.safetensors", freeze=True, seed=3, **settings)


def test_nothing_but_the_head_moves(trained, image_folder, tmp_path):
    run_train([image_folder], tmp_path / "run", config=freezing(trained))
    before, after = load_weights(trained), load_weights(tmp_path / "run")
    moved = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert moved == {"5.weight", "5.bias"} and len(before) == 9
    config = read_run(tmp_path / "run")
    assert config.training["freeze"] is True and config.features is None


def test_a_frozen_run_goes_on_where_it_stopped(trained, image_folder, tmp_path):
    with pytest.raises(Interrupted):
        run_train([image_folder], tmp_path / "run", Told("epoch 3/3"), config=freezing(trained))
    run_train([image_folder], tmp_path / "run", config=freezing(trained))
    run_train([image_folder], tmp_path / "whole", config=freezing(trained))
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_scores_of_a_frozen_model(trained, image_folder, tmp_path):
    path = tmp_path / "f.parquet"
    config = freezing(trained, epochs=2)
    table = run_score(
        [image_folder], "el2n:epoch=2", "grand:epoch=2", runs=1, config=config, record_features=path
    ).table
    rows = sorted(pq.read_table(path).to_pylist(), key=lambda row: row["key"])
    logits, seen = (np.array([row[name] for row in rows]) for name in ("logits", "features"))
    error = np.linalg.norm(softmax(logits) - np.eye(4)[LABELS], axis=1)
    np.testing.assert_allclose(column(table, "el2n"), error, rtol=1e-4)
    # Of the head alone: its weights and its bias.
    np.testing.assert_allclose(column(table, "grand"), error * np.sqrt((seen**2).sum(1) + 1), rtol=1e-3)


def test_freezing_without_weights(image_folder, tmp_path):
    with pytest.raises(UsageError, match="give its weights, --init FILE"):
        run_train([image_folder], tmp_path / "run", config=training(freeze=True))
    with pytest.raises(UsageError, match="give its weights, --init FILE"):
        run_score([image_folder], "el2n", config=training(freeze=True))


def test_a_stray_label_is_told(tmp_path):
    path = write_features(tmp_path / "f.parquet", label=[*LABELS[:-1].tolist(), 10**9])
    with pytest.raises(DataError, match="has label 1000000000, more than is likely; ids count from 0"):
        run_features(path, tmp_path / "run")
