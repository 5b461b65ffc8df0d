"""All scores from one live run with validation data, and again from its recordings."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_data import VALIDATION_SIZES, make_keys, write_folder
from toy_stages import Told, column, run_score, training
from toy_trajectory import every_score

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.features import read_features
from dprune_cli.scores.base import SCORES

EPOCHS = 3
ALL = every_score(EPOCHS)
NAMES = [spec.partition(":")[0] for spec in ALL]
FROM_TRAJECTORY = ["random", "el2n", "forgetting", "aum", "entropy", "dyn_unc", "tdds"]
FROM_FEATURES = ["random", "moderate", "herding", "k_center", "ssp", "cg", "glister", "grand_last"]
TRAINED = ["grand", "adapruner"]


def specs(names):
    return [spec for spec in ALL if spec.partition(":")[0] in names]


@pytest.fixture(scope="module")
def recorded(image_folder, validation_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("every")
    told = Told()
    result = run_score(
        [image_folder],
        *ALL,
        progress=told,
        runs=1,
        val=[str(validation_folder)],
        record_trajectory=folder / "t.parquet",
        record_features=folder / "f.parquet",
        record_val_features=folder / "v.parquet",
    )
    return folder, result.table, told


def test_every_usable_sample_has_every_score(recorded):
    _, table, _ = recorded
    for name in NAMES:
        values = np.array(column(table, name), float)
        assert np.isfinite(values).all() and len(set(values)) > 1, name
        assert table.meta.scores[name]["runs"] == 1 and table.meta.scores[name]["paper"]


def test_one_training_feeds_them_all(recorded):
    trained = [what for what in recorded[2].passes if what.startswith("epoch")]
    # The query model's epochs, and then those of AdaPruner on a copy of it.
    assert trained == [f"epoch {epoch}/{EPOCHS}" for epoch in (1, 2, 3, 1, 2, 3)]


@pytest.mark.parametrize("spec", ALL)
def test_every_score_is_the_same_alone(recorded, image_folder, validation_folder, spec):
    name = spec.partition(":")[0]
    val = [str(validation_folder)] if name == "glister" else []
    alone = run_score([image_folder], spec, runs=1, val=val).table
    assert column(alone, name) == column(recorded[1], name)


@pytest.mark.parametrize("with_data", [False, True])
def test_recordings_give_equal_values(recorded, image_folder, with_data):
    folder, live, _ = recorded
    data = [image_folder] if with_data else []
    sources = {
        "from_trajectory": (FROM_TRAJECTORY, {"from_trajectory": folder / "t.parquet"}),
        "from_features": (
            FROM_FEATURES,
            {"from_features": folder / "f.parquet", "from_val_features": folder / "v.parquet"},
        ),
    }
    both = {name: path for _, paths in sources.values() for name, path in paths.items()}
    sources["both"] = (sorted({*FROM_TRAJECTORY, *FROM_FEATURES, "d2"}), both)
    assert {*sources["both"][0], *TRAINED} == set(NAMES)
    for names, paths in sources.values():
        table = run_score(data, *specs(names), runs=1, **paths).table
        for name in names:
            assert column(table, name) == column(live, name), name


def test_recorded_features_of_validation_data_are_those_of_its_samples(recorded):
    found = read_features(recorded[0] / "v.parquet")
    assert found.keys == sorted(make_keys(VALIDATION_SIZES)) and found.logits is not None


def test_what_is_missing_is_said_before_training(image_folder, recorded, tmp_path):
    folder, _, _ = recorded

    def refuse(error, match, *methods, data=(image_folder,), **options):
        told = Told()
        with pytest.raises(error, match=match):
            run_score(data, *methods, progress=told, **options)
        assert not told.passes

    refuse(UsageError, r"glister looks at validation data; give --val DATA", "glister")
    features, logits = {"from_features": folder / "f.parquet"}, {"from_trajectory": folder / "t.parquet"}
    refuse(
        DataError,
        "glister needs features of validation data; give --from-val-features",
        "glister",
        **features,
    )
    refuse(DataError, "grand needs gradients of the model, which no recording holds", "grand", **features)
    refuse(
        DataError, "adapruner trains a model; it cannot be computed from a recording", "adapruner", **logits
    )
    refuse(DataError, r"moderate needs embeddings after epoch 3; .*t\.parquet has none", "moderate", **logits)
    refuse(DataError, "d2 needs training visits of epoch 1", "d2", **features)
    both = features | logits
    wrong = "grand_last needs embeddings after epoch 2; the features are those after 3"
    refuse(DataError, wrong, "grand_last:epoch=2", **both)
    refuse(DataError, wrong, "grand_last:epoch=2", **features)
    refuse(
        DataError, r"el2n needs a clean pass of epoch 2; .*f\.parquet has none", "el2n:epoch=2", **features
    )
    bare = {}
    for name in ("f", "v"):
        bare[name] = tmp_path / f"{name}.parquet"
        pq.write_table(pq.read_table(folder / f"{name}.parquet").drop_columns("logits"), bare[name])
    mixed = logits | {"from_features": bare["f"], "from_val_features": folder / "v.parquet"}
    refuse(DataError, "grand_last needs logits beside the embeddings", "grand_last", **mixed)
    bad_val = features | {"from_val_features": bare["v"]}
    refuse(DataError, "glister needs logits of validation data", "glister", **bad_val)
    # GLISTER takes logits and embeddings of the training data apart.
    table = run_score([image_folder], "glister", "k_center", **mixed).table
    for name in ("glister", "k_center"):
        assert column(table, name) == column(recorded[1], name)


def test_longer_schedules_and_warm_up(image_folder):
    told = Told()
    table = run_score([image_folder], "adapruner:keep=0.6,warmup=1,epochs=2", progress=told).table
    assert [what for what in told.passes if what.startswith("epoch")] == [
        "epoch 1/3",
        "epoch 1/2",
        "epoch 2/2",
    ]
    facts = table.meta.scores["adapruner"]
    ratio = np.mean(np.array(column(table, "adapruner")) > 0)
    assert facts["target"] == 0.6 and facts["ratio"] == pytest.approx(ratio)
    assert facts["distance"] == pytest.approx(abs(ratio - 0.6))
    cold = run_score([image_folder], "adapruner:keep=0.6,warmup=0,epochs=2").table
    assert column(cold, "adapruner") != column(table, "adapruner")


def test_runs_are_averaged(image_folder):
    both = run_score([image_folder], "moderate", "adapruner", runs=2, config=training(epochs=2)).table
    one = run_score([image_folder], "moderate", "adapruner", runs=1, config=training(epochs=2)).table
    for name in ("moderate", "adapruner"):
        assert column(both, name) != column(one, name) and both.meta.scores[name]["runs"] == 2
    # A mean mask keeps another share than the masks do: what each reached is told of each.
    ratios = both.meta.scores["adapruner"]["ratio"]
    assert len(ratios) == 2 and ratios[0] == one.meta.scores["adapruner"]["ratio"]


def test_validation_data_that_cannot_be_used_is_refused_before_training(
    image_folder, validation_folder, tmp_path
):
    shutil.copytree(validation_folder, tmp_path / "val")
    next((tmp_path / "val").rglob("*.png")).write_bytes(b"no image")
    told = Told()
    with pytest.raises(DataError, match=r"validation data .*val: 1 of \d+ samples cannot be used, more than"):
        run_score([image_folder], "glister", progress=told, val=[str(tmp_path / "val")])
    assert not [what for what in told.passes if what.startswith("epoch")]
    some = run_score(
        [image_folder], "glister", val=[str(tmp_path / "val")], reading=DataConfig(max_errors="50%")
    ).table
    assert sorted(column(some, "glister")) == list(range(1, 41))


def test_shares_may_be_written_in_percent():
    assert SCORES.make("adapruner:keep=30%").keep == SCORES.make("adapruner:keep=0.3").keep
    with pytest.raises(UsageError, match="keep=x% is no float"):
        SCORES.make("adapruner:keep=x%")


def test_a_score_that_cannot_be_computed_does_not_cost_the_recordings(tmp_path):
    write_folder(tmp_path / "images", (5, 4, 3))
    first, second, *_ = sorted((tmp_path / "images").rglob("*.png"))
    shutil.copy(first, second)
    outputs = {f"record_{name}": tmp_path / name for name in ("trajectory", "features")}
    with pytest.raises(DataError, match="cg:ridge"):
        run_score([tmp_path / "images"], "cg:ridge=0", **outputs)
    again = run_score([tmp_path / "images"], "cg", from_features=outputs["record_features"]).table
    assert run_score([], "aum", from_trajectory=outputs["record_trajectory"]).table
    assert None not in column(again, "cg")
