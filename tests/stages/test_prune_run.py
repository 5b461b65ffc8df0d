"""What `dprune prune` trains, and what becomes of the scores: which model, which rows, which seeds."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from toy_prune import quick, request
from toy_stages import Told, column, table_bytes

from dprune_cli.core.config import DataConfig, QueryConfig
from dprune_cli.core.errors import Interrupted, UsageError
from dprune_cli.io.keys import draw_seed, hash_keys
from dprune_cli.io.samples import recorded_samples
from dprune_cli.stages import prune_trial
from dprune_cli.stages.prune import prune
from dprune_cli.stages.prune_holdout import hold_out
from dprune_cli.stages.prune_job import plan_job
from dprune_cli.stages.prune_scores import train_scores
from dprune_cli.stages.prune_store import find_scores
from dprune_cli.stages.prune_trial import estimate


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def planned(image_folder, tmp_path):
    """A job for the folder of images."""

    def plan(method="drop", **options):
        return plan_job(request(image_folder, tmp_path, method=method, **options), Told())

    return plan


class Killed(Told):
    """Breaks off in the second epoch of the training that it is told of in this way."""

    def __init__(self, training):
        super().__init__()
        self.training = training

    def note(self, line):
        super().note(line)
        self.stop = "epoch 2/3" if line.startswith(self.training) else None


@pytest.mark.parametrize(
    ("training", "left"),
    [
        ("training on 36 samples", ["epoch 2/3", "epoch 3/3", "epoch 1/3", "epoch 2/3", "epoch 3/3"]),
        ("training on 40 samples", ["epoch 2/3", "epoch 3/3"]),
    ],
)
def test_an_interrupted_training_goes_on_where_it_stopped(training, left, planned):
    job = planned("drop:score=forgetting", query=quick(epochs=3))
    whole = train_scores(job, {}, Told())
    with pytest.raises(Interrupted):
        find_scores(job, Killed(training))
    told = Told()
    found = find_scores(job, told)
    assert [name for name in told.passes if name.startswith("epoch")] == left
    assert table_bytes(found.table) == table_bytes(whole.table)
    assert table_bytes(found.validation) == table_bytes(whole.validation)


def test_predictions_are_those_of_the_model_that_did_not_see_what_validates_it(planned):
    alone = train_scores(planned("drop"), {}, Told())
    scored = train_scores(planned("drop:score=forgetting"), {}, Told())
    assert table_bytes(scored.validation) == table_bytes(alone.validation)
    for name in ("key", "pred", "loss"):
        assert column(scored.table, name) == column(alone.table, name)


def test_validation_holds_what_the_table_says_of_the_same_samples(planned):
    job = planned("drop")
    found = train_scores(job, {}, Told())
    known = dict(zip(column(found.table, "key"), column(found.table, "loss"), strict=True))
    assert len(set(known.values())) == 40
    held = [key for key, one in zip(job.samples.keys, job.held, strict=True) if one]
    assert column(found.validation, "key") == held
    assert column(found.validation, "loss") == [known[key] for key in held]


def test_the_table_has_the_scores_and_the_steps_of_both_trainings(planned):
    job = planned("drop:score=forgetting")
    table = train_scores(job, {}, Told()).table
    assert [(step["command"], step["options"].get("methods")) for step in table.meta.steps] == [
        ("score", ["aum"]),
        ("score", ["forgetting"]),
        ("evaluate", None),
    ]
    assert set(table.meta.scores) == {"aum", "forgetting"}
    assert np.array_equal(np.isnan(table.numbers("aum")), job.held)
    assert not np.isnan(table.numbers("forgetting")).any()


def test_who_is_held_out_has_nothing_to_do_with_who_is_drawn_at_random():
    keys = [f"photo{number}" for number in range(4000)]
    samples = recorded_samples("T", keys, np.repeat(np.arange(2, dtype=np.int32), (3000, 1000)), ["a", "b"])
    held = hold_out(samples, seed=5)
    # By the hashes of `select --by random`, and by those of scores that begin at a random sample.
    for seed in (draw_seed(5, hash_keys(keys)), 5):
        drawn = np.zeros(4000, bool)
        drawn[np.argsort(hash_keys(keys, seed))[:400]] = True
        # 40 of 400 are expected, with a deviation of 5.7.
        assert 20 < np.count_nonzero(held & drawn) < 60


def test_validation_data_are_shown_to_scores_that_look_at_them_alone(planned, validation_folder):
    val = [str(validation_folder)]
    assert [one.request.val for one in planned("el2n", val=val).trainings] == [()]
    looking = planned("glister", val=val, query=quick(epochs=20))
    assert [list(one.request.val) for one in looking.trainings] == [val]


def test_the_model_that_is_validated_is_trained_to_its_end_and_others_as_far_as_scores_look(
    planned, validation_folder
):
    early = {"query": quick(epochs=3), "method": "el2n:epoch=1"}
    assert [one.epochs for one in planned(**early).trainings] == [3, 1]
    assert [one.epochs for one in planned(**early, val=[str(validation_folder)]).trainings] == [3]


@pytest.mark.parametrize(
    ("keep", "method", "promised"), [("4", "drop", 1), ("3", "drop", 0), ("9", "el2n", 0)]
)
def test_every_class_is_promised_a_sample_where_quotas_and_the_budget_allow_it(
    keep, method, promised, planned
):
    assert planned(method, keep=keep).minimum == promised


def test_validation_data_in_the_folder_that_is_replaced_are_refused(image_folder, tmp_path):
    out = tmp_path / "out"
    (out / "val").mkdir(parents=True)
    (out / "kept.parquet").touch()
    with pytest.raises(UsageError, match="would replace"):
        plan_job(request(image_folder, tmp_path, val=[str(out / "val")], force=True), Told())


def test_photos_are_seen_small_on_a_cpu(tmp_path):
    for name, count in (("ant", 3), ("bee", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (300, 310), (number, 9, 9)).save(tmp_path / "photos" / name / f"{number}.png")
    query = QueryConfig(device="cpu")
    job = plan_job(request(tmp_path / "photos", tmp_path, query=query, reading=DataConfig()), Told())
    assert job.settings.reading.image_size == 64


@pytest.mark.parametrize(
    ("method", "told"), [("drop", {"quota": "30", "select": None}), ("el2n", {"select": "30"})]
)
def test_the_budget_goes_to_the_quotas_where_there_are_any_and_else_to_the_selection(method, told, planned):
    steps = prune(planned(method, keep="30"), Told()).selection.table.meta.steps
    names = ("quota", "select")
    assert {one["command"]: one["options"].get("keep") for one in steps if one["command"] in names} == told


@pytest.mark.parametrize(
    ("method", "told"), [("uniform", "keep"), ("el2n", "keep"), ("score:by=el2n,score=el2n", "quota")]
)
def test_another_seed_draws_others_and_breaks_ties_otherwise(method, told, planned, monkeypatch):
    """Of scores that are all the same, so that nothing but seeds tells samples apart."""
    job = planned(method, keep="9", minimum=None if method == "el2n" else 0)
    scored = train_scores(job, {}, Told())
    if "el2n" in method:
        same = scored.table.with_columns(el2n=pa.array(np.full(40, 0.5, np.float32)))
        scored = replace(scored, table=same)
    monkeypatch.setattr("dprune_cli.stages.prune.find_scores", lambda job, progress: scored)

    def drawn(seed):
        asked = replace(job.request, query=quick(seed=seed))
        return tuple(column(prune(replace(job, request=asked), Told()).selection.table, told))

    assert drawn(1) == drawn(1) and len({drawn(seed) for seed in range(5)}) > 1


class Clocked:
    """A training whose first epoch takes ten times as long: 0.05 seconds a visit from then on."""

    def __init__(self, *, config, data, **_):
        self.epochs, self.visited = config.epochs, len(data.rows)

    def train(self):
        return [
            {"visit_seconds": self.visited * (0.5 if epoch == 0 else 0.05), "visited": self.visited}
            for epoch in range(self.epochs)
        ]


def test_a_trial_reckons_with_all_images_all_trainings_and_all_clean_passes(planned, monkeypatch):
    clock = cycle([100.0, 106.4])
    monkeypatch.setattr(prune_trial, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(prune_trial, "Fit", Clocked)
    # 32 of 40 images are decoded in 6.4 seconds.
    job = planned("drop:score=forgetting", query=quick(epochs=3))
    found = estimate(job, Told())
    assert found.decode == pytest.approx(0.2 * 40)
    # Visits of both trainings, and what is measured: four samples after every epoch, all in the end.
    assert found.train == pytest.approx(0.05 * (3 * 36 + 3 * 40 + 0.4 * (3 * 4 + 40)))
