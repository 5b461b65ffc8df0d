from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_data import SIZES
from toy_stages import Told, run_train, same_weights, training

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import BudgetError, Interrupted, UsageError
from dprune_cli.data import batch
from dprune_cli.data.decode import decode_image
from dprune_cli.stages.train_sampler import summarise_visits

BUDGET = {"sampler": "rcap", "keep": "0.5"}


def history(run):
    return pq.read_table(run / "history.parquet").to_pylist()


def timeless(run):
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in history(run)]


def test_a_run_with_a_sampler(image_folder, tmp_path):
    result = run_train([image_folder], tmp_path / "run", **BUDGET)
    rows = history(tmp_path / "run")
    assert [row["visited"] for row in rows] == [20, 20, 20]
    assert [sum(row["class_visited"]) for row in rows] == [20, 20, 20]
    assert rows[0]["class_visited"] == [size // 2 for size in SIZES]
    for row in rows:
        assert row["seconds"] >= row["plan_seconds"] + row["visit_seconds"] > row["plan_seconds"] > 0
    summary = result.summary
    assert summary["samples"] == 40 and summary["visited"] == 20 and summary["visited_fraction"] == 0.5
    assert summary["epoch_seconds"] * summary["speedup"] == pytest.approx(summary["full_epoch_seconds"])


def test_what_was_saved_is_reckoned_from_the_seconds_of_a_visit():
    rows = [
        {"visited": 100, "plan_seconds": 0.0, "visit_seconds": 10.0},
        {"visited": 10, "plan_seconds": 0.5, "visit_seconds": 1.0},
        {"visited": 10, "plan_seconds": 0.5, "visit_seconds": 3.0},
    ]
    found = summarise_visits(rows, 200)
    # 120 visits take 14 s; an epoch took 10, 1.5 and 3.5 s.
    assert found["visited"] == 40 and found["visited_fraction"] == 0.2
    assert found["full_epoch_seconds"] == pytest.approx(200 * 14 / 120) and found["epoch_seconds"] == 5
    assert found["plan_seconds"] == pytest.approx(1 / 3)
    assert found["speedup"] == pytest.approx(200 * 14 / 120 / 5)


@pytest.mark.parametrize("sampler", ["rcap", "rs2", "drop:period=1,missing_class=mean", "infobatch"])
def test_an_interrupted_run_goes_on_with_the_same_plans(image_folder, validation_folder, tmp_path, sampler):
    options = {"sampler": sampler, "keep": "0.7", "val": [validation_folder], "config": training(epochs=6)}
    with pytest.raises(Interrupted):
        run_train([image_folder], tmp_path / "run", Told("epoch 4/6"), **options)
    told = Told()
    run_train([image_folder], tmp_path / "run", told, **options)
    assert "epoch 3/6" not in told.passes and "epoch 4/6" in told.passes
    run_train([image_folder], tmp_path / "whole", **options)
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
    tables = [pq.read_table(tmp_path / run / "table.parquet") for run in ("run", "whole")]
    assert tables[0].equals(tables[1])


def test_another_sampler_or_budget_is_another_run(image_folder, tmp_path):
    with pytest.raises(Interrupted):
        run_train([image_folder], tmp_path / "run", Told("epoch 2/3"), **BUDGET)
    for other in ({**BUDGET, "keep": "0.6"}, {**BUDGET, "sampler": "rcap:beta=2"}, {}):
        with pytest.raises(UsageError, match="unfinished run with other options"):
            run_train([image_folder], tmp_path / "run", **other)


def test_an_epoch_decodes_what_it_visits_and_nothing_else(image_folder, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(batch, "decode_image", lambda raw, side: decoded.append(1) or decode_image(raw, side))
    run_train([image_folder], tmp_path / "run", reading=DataConfig(cache_memory="0"), **BUDGET)
    # Once each to find broken images before training, then 20 in each of 3 epochs.
    assert len(decoded) == 40 + 3 * 20


def test_a_count_is_a_budget_too(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "run", sampler="rs2", keep="12")
    assert [row["visited"] for row in history(tmp_path / "run")] == [12, 12, 12]


def test_the_schedule_ends_where_the_run_ends(image_folder, tmp_path):
    # Epochs of 40, 20, ..., 20 and 40 samples, whose steps are equal parts of an epoch.
    config = training(epochs=6, schedule="cosine")
    run_train([image_folder], tmp_path / "run", sampler="infobatch:delta=0.84", keep="0.65", config=config)
    rows = history(tmp_path / "run")
    assert [row["visited"] for row in rows] == [40, 19, 19, 19, 19, 40]
    steps = np.array([5, 3, 3, 3, 3, 5])  # batches of 8
    last = (np.arange(1, 7) - 1 / steps) / 6
    expected = 0.05 * 0.5 * (1 + np.cos(np.pi * last))
    assert [row["lr"] for row in rows] == pytest.approx(expected.tolist())


def test_a_longer_schedule_makes_up_for_fewer_visits(image_folder, tmp_path):
    run_train([image_folder], tmp_path / "run", stretch="iterations", **BUDGET)
    rows = history(tmp_path / "run")
    assert len(rows) == 6 and sum(row["visited"] for row in rows) == 3 * 40


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"keep": "0.5"}, UsageError, "--keep goes with --sampler"),
        ({"sampler": "rcap"}, UsageError, "--sampler rcap goes by a budget; give --keep B"),
        ({"sampler": "rcap", "keep": "half"}, UsageError, "write a fraction"),
        ({"sampler": "rcup", "keep": "0.5"}, UsageError, "no sampler called 'rcup'; try rcap"),
        ({"sampler": "rcap:by=group", "keep": "0.5"}, UsageError, "needs groups; give --group-field"),
        ({"sampler": "drop", "keep": "0.5"}, UsageError, "goes by recall on validation data; give --val"),
        ({"sampler": "rcap", "keep": "1.5"}, BudgetError, "more than everything"),
        ({"sampler": "rcap", "keep": "41"}, BudgetError, "asks for 41 samples, but there are only 40"),
        (
            {"sampler": "rcap", "keep": "1"},
            BudgetError,
            "rcap visits at least 2 in every epoch",
        ),
        ({"sampler": "infobatch", "keep": "0.3"}, BudgetError, "infobatch"),
        ({"sampler": "infobatch", "stretch": "iterations"}, UsageError, "--stretch"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_decoded(
    image_folder, tmp_path, monkeypatch, options, kind, why
):
    monkeypatch.setattr(batch, "decode_image", None)
    with pytest.raises(kind, match=why):
        run_train([image_folder], tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_groups_have_their_own_columns_in_the_history(shard_folder, tmp_path):
    run_train(
        [shard_folder],
        tmp_path / "run",
        sampler="rcap:by=group",
        keep="0.5",
        reading=DataConfig(group_field="place"),
    )
    rows = history(tmp_path / "run")
    assert all(sum(row["group_visited"]) == 20 and len(row["group_loss"]) == 2 for row in rows)


def test_other_initial_weights_are_another_run(image_folder, tmp_path):
    for name, seed in (("first", 0), ("second", 1)):
        run_train([image_folder], tmp_path / name, config=training(epochs=1, seed=seed))
    start = tmp_path / "start.safetensors"
    shutil.copy(tmp_path / "first" / "model.safetensors", start)
    options = {**BUDGET, "config": training(init=start)}
    with pytest.raises(Interrupted):
        run_train([image_folder], tmp_path / "run", Told("epoch 2/3"), **options)
    shutil.copy(tmp_path / "second" / "model.safetensors", start)
    with pytest.raises(UsageError, match="unfinished run with other options or data"):
        run_train([image_folder], tmp_path / "run", **options)
