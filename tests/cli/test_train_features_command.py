"""`train --from-features`, `evaluate --from-features` and `--freeze` as users type them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import QUICK, call, contents, must
from feature_files import write_features
from safetensors.numpy import load_file
from tiny_data import CLASSES, PLACES, VALIDATION_SIZES

from dprune_cli.stages import train_features

SHORT = ["--epochs", "2", "--device", "cpu", "-q"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, shard_folder, validation_shards):
    """What `score` recorded of training and validation data, with groups, and its model."""
    path = tmp_path_factory.mktemp("recorded")
    must(
        *("score", shard_folder, "-m entropy --group-field place", "--val", validation_shards),
        *("--record-features", path / "f.parquet", "--record-val-features", path / "v.parquet"),
        *("--save-model", path / "model", "-o", path / "t.parquet", "-q", *QUICK),
    )
    return path


@pytest.fixture(scope="module")
def on_features(tmp_path_factory, recorded):
    """A run on these features."""
    run = tmp_path_factory.mktemp("run") / "run"
    must("train --from-features", recorded / "f.parquet", "-o", run, *SHORT)
    return run


@pytest.fixture(scope="module")
def on_images(recorded):
    """A run on images."""
    return recorded / "model"


# --- the pipeline


def test_from_score_to_fairness_by_group_without_data(recorded, tmp_path):
    run = tmp_path / "run"
    done = must(
        *("train --from-features", recorded / "f.parquet", "--from-val-features", recorded / "v.parquet"),
        *("--sampler rcap --keep 0.5 --head 8 --json", "-o", run, *SHORT[:-1]),
    )
    summary = json.loads(done.out)
    assert (summary["samples"], summary["visited"], summary["epochs"]) == (40, 20, 2)
    assert "trained on 40 samples for 2 epochs" in done.err and "an epoch visited 20 samples" in done.err
    done = must(
        *("evaluate", run, "--from-features", recorded / "v.parquet", "--json --device cpu -q"),
        *("-o", tmp_path / "p.parquet"),
    )
    found = json.loads(done.out)
    assert found["samples"] == 12 and list(found["recall"]) == CLASSES
    assert found["accuracy"] == pytest.approx(summary["val_accuracy"])
    assert found["worst_class"] == pytest.approx(summary["val_worst_class"])
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    right = {place: [] for place in PLACES}
    for row in table:
        right[PLACES[row["group"]]].append(row["pred"] == row["label"])
    assert found["group_accuracy"] == {place: pytest.approx(np.mean(one)) for place, one in right.items()}
    assert found["worst_group"] == min(found["group_accuracy"].values())


def test_data_and_features_together(recorded, shard_folder, validation_shards, tmp_path):
    must("train", shard_folder, "--from-features", recorded / "f.parquet", "-o", tmp_path / "run", *SHORT)
    rows = pq.read_table(tmp_path / "run" / "table.parquet").to_pylist()
    assert {row["shard"] for row in rows} == {"000000.tar", "000001.tar"}
    words = [validation_shards, "--group-field place --from-features", recorded / "v.parquet", "--json -q"]
    found = json.loads(must("evaluate", tmp_path / "run", *words).out)
    alone = must("evaluate", tmp_path / "run", "--from-features", recorded / "v.parquet", "--json -q")
    assert found == json.loads(alone.out)


def test_several_runs(recorded, on_features, tmp_path):
    must("train --head none --from-features", recorded / "f.parquet", "-o", tmp_path / "b", *SHORT)
    words = ["--from-features", recorded / "v.parquet", "--json -q"]
    found = json.loads(must("evaluate", on_features, tmp_path / "b", *words).out)
    assert len(found["runs"]) == 2 and "worst_group" in found["over_runs"]


def test_a_selection_of_features(recorded, tmp_path):
    must(
        *("select", recorded / "t.parquet", "--by entropy --keep 20 --pick stratified -q"),
        *("-o", tmp_path / "kept.parquet"),
    )
    done = must(
        *("train --from-features", recorded / "f.parquet", "--table", tmp_path / "kept.parquet"),
        *("--json -o", tmp_path / "run", *SHORT),
    )
    assert json.loads(done.out)["samples"] == 20
    rows = pq.read_table(tmp_path / "run" / "table.parquet").to_pylist()
    assert [row["visits"] for row in rows] == [2 * row["keep"] for row in rows]


@pytest.mark.parametrize(
    ("words", "name"), [("-q", "512,256"), ("--head 7,6,5", "7,6,5"), ("--head none", "")]
)
def test_the_shape_of_the_network(recorded, tmp_path, words, name):
    must("train --from-features", recorded / "f.parquet", words, "-o", tmp_path / "run", *SHORT)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"] == f"mlp:{name}"


def test_scores_of_recorded_features_have_their_groups(recorded, tmp_path):
    must("score -m entropy -q --from-features", recorded / "f.parquet", "-o", tmp_path / "t.parquet")
    rows = {row["key"]: row["group"] for row in pq.read_table(recorded / "t.parquet").to_pylist()}
    found = {row["key"]: row["group"] for row in pq.read_table(tmp_path / "t.parquet").to_pylist()}
    assert found == rows


def test_force_replaces_a_run(recorded, on_features, tmp_path):
    words = ["train --from-features", recorded / "f.parquet", "-o", tmp_path / "run", *SHORT]
    must(*words)
    done = call(*words)
    assert done.code == 2 and "exists" in done.line
    must(*words, "--force --head 3")


def test_the_head_of_a_trained_model(on_images, image_folder, tmp_path):
    start = on_images / "model.safetensors"
    must("train", image_folder, "--freeze --init", start, "-o", tmp_path / "run", *QUICK, "-q")
    before, after = load_file(start), load_file(tmp_path / "run" / "model.safetensors")
    moved = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert moved == {"head.weight", "head.bias"}


# --- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--head 0 --from-features F", "--head 0: write the hidden widths such as 512,256, or none"),
        ("--head 8;4 --from-features F", "--head 8;4: write the hidden widths such as 512,256, or none"),
        ("IMAGES --head 8", "--head is for training on recorded features; give --from-features FILE too"),
        (
            "IMAGES --from-val-features F",
            "--from-val-features is for training on recorded features; give --from-features FILE too",
        ),
        ("", "name the DATA to train on, or give --from-features FILE"),
        (
            "--from-features F --model tiny",
            "--model sees images; with --from-features the network is --head 512,256: drop --model",
        ),
        (
            "--from-features F --freeze --init W",
            "--freeze keeps the layers below the head, and --from-features has what they gave: drop it "
            "(--head none is a linear classifier)",
        ),
        (
            "IMAGES --freeze",
            "--freeze trains the head of a trained model alone; give its weights, --init FILE",
        ),
        (
            "--from-features F --val IMAGES",
            "--val sees images; with --from-features give the validation data's features with "
            "--from-val-features FILE",
        ),
        (
            "--from-features F --image-size 8",
            "--image-size is for images, and --from-features takes their place; drop one of them",
        ),
        (
            "--from-features F --group-field place",
            "--group-field reads DATA, and there is none beside --from-features; name it or drop it",
        ),
    ],
)
def test_options_that_do_not_go_together(recorded, on_images, image_folder, tmp_path, words, said):
    places = {"F": recorded / "f.parquet", "W": on_images / "model.safetensors", "IMAGES": image_folder}
    done = call("train", *(places.get(word, word) for word in words.split()), "-o", tmp_path / "run")
    assert (done.code, done.line) == (2, said)
    assert contents(tmp_path) == {}


def test_an_empty_head_is_a_linear_classifier(recorded, tmp_path):
    must("train --from-features", recorded / "f.parquet", "--head=", "-o", tmp_path / "run", *SHORT)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"] == "mlp:"


def test_an_output_in_the_place_of_the_features(recorded):
    before = contents(recorded)
    for option in ("--from-features", "--from-val-features"):
        done = call("train", option, recorded / "f.parquet", "-o", recorded / "f.parquet", "--force")
        assert done.code == 2 and "which is read; name another output" in done.line
    assert contents(recorded) == before


BAD = {
    "no file": (None, "there is no such file"),
    "label": ({"label": [-1] * 12}, "label -1 is negative; class ids count from 0"),
    "one class": ({"label": [0] * 12}, "all 12 samples are of one class, '0'"),
    "narrow": ({"features": [[1.0]] * 12}, "its features are of length 1; a model needs at least 2"),
    "group": ({"group": [0.5] * 12}, "column 'group' holds double, neither names nor whole numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_trained_on(tmp_path, name):
    columns, said = BAD[name]
    path = tmp_path / "bad.parquet"
    if columns is not None:
        write_features(path, VALIDATION_SIZES, **columns)
    before = contents(tmp_path)
    done = call("train --from-features", path, "-o", tmp_path / "run", *SHORT)
    assert (done.code, done.line) == (3, f"{path}: {said}")
    assert contents(tmp_path) == before


def test_files_that_are_not_of_data(recorded, image_folder, validation_folder, tmp_path):
    def refuse(said, *words):
        done = call("train", *words, "-o", tmp_path / "run", *SHORT)
        assert done.code == 3 and said in done.line, done.err
        assert contents(tmp_path) == {}

    # The first is missing in the file, the second in DATA.
    refuse(
        "key 'ant/06' has no features (28 samples like this)",
        image_folder,
        "--from-features",
        recorded / "v.parquet",
    )
    refuse("is not among the samples", validation_folder, "--from-features", recorded / "f.parquet")


def test_evaluation_of_the_wrong_kind(recorded, on_features, on_images, image_folder):
    wanted = (
        f"{on_features} was trained on features; give --from-features FILE (score --record-features writes "
        "one)"
    )
    for words in ([on_features, image_folder], [on_features]):
        done = call("evaluate", *words)
        assert (done.code, done.line) == (2, wanted)
    wanted = f"{on_images} was trained on images; name DATA in place of --from-features"
    for words in ([on_images], [on_features, on_images], [on_images, image_folder]):
        done = call("evaluate", *words, "--from-features", recorded / "v.parquet")
        assert (done.code, done.line) == (2, wanted)
    done = call("evaluate", on_images)
    assert (done.code, done.line) == (
        2,
        f"no DATA after the run {on_images}; write dprune evaluate RUN... DATA...",
    )


def test_a_head_that_does_not_fit_into_memory_is_one_line(recorded, tmp_path, monkeypatch):
    def build(*given, **more):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(train_features, "build_mlp", build)
    done = call("train", "--from-features", recorded / "f.parquet", "-o", tmp_path / "run")
    assert done.code == 1 and done.line == "out of memory; lower --cache-memory, --batch-size or the model"
    assert contents(tmp_path) == {}
