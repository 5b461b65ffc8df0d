from __future__ import annotations

import dataclasses
import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_data import CLASSES, write_folder
from toy_prune import quick, request
from toy_stages import Told

from dprune_cli.core.config import DataConfig, QueryConfig
from dprune_cli.core.errors import BudgetError, DataError, UsageError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.samples import recorded_samples
from dprune_cli.stages.prune_holdout import hold_out, without
from dprune_cli.stages.prune_job import plan_job
from dprune_cli.stages.prune_method import PruneMethod, method_names, parse_method
from dprune_cli.stages.prune_scores import train_scores
from dprune_cli.stages.prune_store import _place, find_scores
from dprune_cli.stages.prune_trial import estimate

QUICK = quick()


def make_samples(sizes, broken=()):
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    keys = [f"{label}/{number}" for number, label in enumerate(labels)]
    samples = recorded_samples("T", keys, labels, [str(label) for label in range(len(sizes))])
    status = samples.status.copy()
    status[list(broken)] = "decode_error"
    return dataclasses.replace(samples, status=status)


def test_a_tenth_of_every_class_is_held_out_and_nothing_of_a_class_of_four():
    held = hold_out(make_samples([100, 44, 45, 15, 5, 4, 1]), seed=0)
    labels = np.repeat(np.arange(7), [100, 44, 45, 15, 5, 4, 1])
    assert np.bincount(labels[held], minlength=7).tolist() == [10, 4, 5, 2, 1, 0, 0]


def test_broken_samples_are_neither_held_out_nor_counted():
    broken = range(90)
    held = hold_out(make_samples([100, 30], broken), seed=0)
    assert not held[:90].any()
    assert (held[:100].sum(), held[100:].sum()) == (1, 3)


def test_what_is_held_out_depends_on_keys_and_seed_and_not_on_the_order():
    samples = make_samples([60, 40])
    order = np.random.default_rng(1).permutation(100)
    held = hold_out(samples, seed=0)
    assert np.array_equal(hold_out(samples.take(order), seed=0), held[order])
    assert not np.array_equal(hold_out(samples, seed=1), held)


def test_what_is_held_out_cannot_be_used():
    samples = make_samples([20, 10], broken=[3])
    held = hold_out(samples, seed=0)
    assert Counter(without(samples, held).status) == {"ok": 26, "held_out": 3, "decode_error": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop", {"quota": "drop:smoothing=1,missing_class=mean"}),
        ("drop:smoothing=0", {"quota": "drop:smoothing=0,missing_class=mean"}),
        ("balanced", {"quota": "balanced"}),
        ("longtail:factor=4", {"quota": "longtail:factor=4"}),
        ("loss", {"quota": "loss"}),
        ("uniform:score=aum", {"quota": "uniform", "by": "aum", "scores": ("aum",)}),
        ("score:by=el2n", {"quota": "score:by=el2n", "scores": ("el2n",)}),
        ("score:by=el2n,score=aum", {"quota": "score:by=el2n", "by": "aum", "scores": ("aum", "el2n")}),
        ("el2n:epoch=3", {"by": "el2n", "scores": ("el2n:epoch=3",)}),
        ("ccs", {"by": "aum", "pick": "stratified", "scores": ("aum",)}),
        (
            "ccs:score=el2n,cutoff=0.2",
            {"by": "el2n", "pick": "stratified:cutoff=0.2", "scores": ("el2n", "aum")},
        ),
    ],
)
def test_a_method_is_scores_quotas_and_picks(text, expected):
    assert parse_method(text) == PruneMethod(text=text, **expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dorp", "no way to prune called 'dorp'; try drop"),
        ("drop:score=mood", "'mood', which is no score"),
        ("drop:score=pred", "'pred', which is no score"),
        ("drop:smooth=1", "no parameter 'smooth'"),
        ("score", "needs by"),
        ("ccs:bins=0", "bins=0"),
        ("el2n:0.3", "is no parameter"),
        ("ccs:score=random", "strata are of a score"),
    ],
)
def test_what_is_no_method_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        parse_method(text)


def test_every_quota_method_and_score_is_a_way_to_prune():
    needing = {"score": "score:by=el2n", "adapruner": "adapruner:keep=0.3", "longtail": "longtail:factor=2"}
    for name in method_names():
        assert parse_method(needing.get(name, name)).text


def test_what_is_not_given_is_chosen(image_folder, tmp_path):
    job = plan_job(request(image_folder, tmp_path, query=QueryConfig(device="cpu")), Told())
    training = job.settings.training
    assert (training.model, training.epochs, training.batch_size, training.lr) == ("tiny", 60, 8, 0.1 / 16)
    assert (job.settings.image_size, job.kept, job.minimum) == (8, 20, 1)
    # 40 samples in classes of 20, 12, 6 and 2.
    assert int(job.held.sum()) == 2 + 1 + 1
    assert [one.request.methods for one in job.trainings] == [("aum",)]


def test_scores_need_a_training_on_all_samples_of_their_own_unless_there_is_validation_data(
    image_folder, validation_folder, tmp_path
):
    alone = plan_job(request(image_folder, tmp_path, method="drop:score=forgetting"), Told())
    assert [(one.name, one.request.methods) for one in alone.trainings] == [
        ("query", ("aum",)),
        ("scores", ("forgetting",)),
    ]
    assert not alone.trainings[1].held.any()
    validated = plan_job(
        request(image_folder, tmp_path, method="drop:score=forgetting", val=[str(validation_folder)]), Told()
    )
    assert [one.request.methods for one in validated.trainings] == [("forgetting", "aum")]
    assert not validated.held.any()


def test_without_a_class_of_five_all_classes_are_taken_to_be_alike(tmp_path):
    folder = write_folder(tmp_path / "few", (4, 2, 1, 1))
    told = Told()
    job = plan_job(request(folder, tmp_path), told)
    assert job.quota == "uniform" and not job.validated
    assert "no class has five samples" in told.warnings[0]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"keep": "41"}, BudgetError, "only 40"),
        ({"minimum": 8}, BudgetError, "--min-per-class 8 needs"),
        ({"method": "el2n", "minimum": 2}, UsageError, "goes with quotas"),
        ({"method": "drop:score=loss"}, UsageError, "ranks by loss, which is higher"),
        ({"method": "ccs:score=loss"}, UsageError, "give --val"),
        ({"query": dataclasses.replace(QUICK, runs=0)}, UsageError, "--runs 0"),
        ({"query": dataclasses.replace(QUICK, epochs=0)}, UsageError, "--epochs 0"),
        ({"method": "glister"}, UsageError, "give --val"),
        ({"method": "tdds:window=5"}, UsageError, "epochs"),
        ({"data": []}, UsageError, "name the DATA"),
        ({"val": ["-"]}, UsageError, "--val -"),
        ({"out": "-"}, UsageError, "name one with -o"),
        ({"minimum": -1}, UsageError, "is negative"),
        ({"val": ["nowhere"]}, DataError, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(options, error, said, image_folder, tmp_path):
    later = {name: options[name] for name in ("data", "out") if name in options}
    options = {name: value for name, value in options.items() if name not in later}
    asked = dataclasses.replace(request(image_folder, tmp_path, **options), **later)
    with pytest.raises(error, match=said):
        plan_job(asked, Told())


def test_an_output_that_holds_the_data_is_refused(tmp_path):
    folder = write_folder(tmp_path / "images")
    (tmp_path / "kept.parquet").touch()
    asked = dataclasses.replace(request(folder, tmp_path), out=str(tmp_path), force=True)
    with pytest.raises(UsageError, match="would replace"):
        plan_job(asked, Told())


def test_an_output_inside_the_data_is_refused(image_folder, tmp_path):
    asked = dataclasses.replace(request(image_folder, tmp_path), out=str(image_folder / "small"))
    with pytest.raises(UsageError, match="is inside"):
        plan_job(asked, Told())


def test_scores_are_kept_apart_by_all_that_they_depend_on(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "images")

    def place(**options):
        return _place(plan_job(request(folder, tmp_path, **options), Told()))

    first = place()
    # Neither the budget nor what ranks nothing makes other scores.
    assert place(keep="7") == first == place(method="balanced") == place(minimum=2)
    others = [
        place(method="el2n"),
        place(query=dataclasses.replace(QUICK, epochs=2)),
        place(query=dataclasses.replace(QUICK, seed=1)),
        place(query=dataclasses.replace(QUICK, runs=2)),
        place(reading=DataConfig(image_size=16)),
        place(val=[str(folder)]),
    ]
    image = folder / CLASSES[0] / "00.png"
    os.utime(image, ns=(1, 1))
    others.append(place())
    image.write_bytes(image.read_bytes() + b"\0")
    others.append(place())
    image.unlink()
    others.append(place())
    assert len({first, *others}) == 1 + len(others)


def test_files_and_shards_are_pruned_apart(shard_folder, tmp_path):
    # Four images more of the first class than the shards have; the others are there twice.
    folder = write_folder(tmp_path / "images", (24, 2, 1, 1))
    asked = request(folder, tmp_path)
    with pytest.raises(UsageError, match="both image files and shards"):
        plan_job(dataclasses.replace(asked, data=[str(shard_folder), str(folder)]), Told())


def test_other_names_of_classes_are_other_scores(shard_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = set()
    for names in (CLASSES, [f"wild {name}" for name in CLASSES]):
        (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names))
        reading = DataConfig(image_size=8, classes=str(tmp_path / "names.txt"))
        places.add(_place(plan_job(request(shard_folder, tmp_path, reading=reading), Told())))
    assert len(places) == 2 and None not in places


def test_nothing_is_kept_where_a_disk_is_nearly_full_or_nobody_wants_it(image_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = request(image_folder, tmp_path)
    assert _place(plan_job(asked, Told())) is not None
    assert _place(plan_job(dataclasses.replace(asked, reuse=False), Told())) is None
    of_the_user = dataclasses.replace(QUICK, model="toy_models:linear_net")
    assert _place(plan_job(dataclasses.replace(asked, query=of_the_user), Told())) is None
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert _place(plan_job(asked, Told())) is None


@pytest.mark.parametrize("name", ["scores.parquet", "validation.parquet", "history.parquet"])
@pytest.mark.parametrize("content", [None, b"PAR1 no table"])
def test_damaged_scores_are_made_again(name, content, image_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    job = plan_job(request(image_folder, tmp_path), Told())
    first = find_scores(job, Told())
    file = _place(job) / name
    file.unlink() if content is None else file.write_bytes(content)
    told = Told()
    again = find_scores(job, told)
    assert name in told.warnings[0] and "made again" in told.warnings[0]
    assert again.table.data.equals(first.table.data)
    told = Told()
    find_scores(job, told)
    assert told.warnings == [] and "scores of an earlier command" in told.notes[0]


def test_the_scores_that_were_not_used_for_longest_are_forgotten(image_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "cache" / "dprune" / "prune"
    for age in range(25):
        (home / f"{age:02}").mkdir(parents=True)
        os.utime(home / f"{age:02}", ns=(10**9 * (100 - age), 10**9 * (100 - age)))
    (home / ".old-query.resume").mkdir()
    os.utime(home / ".old-query.resume", ns=(1, 1))
    (home / ".new-query.resume").mkdir()
    job = plan_job(request(image_folder, tmp_path), Told())
    find_scores(job, Told())
    left = sorted(entry.name for entry in home.iterdir() if not entry.name.startswith("."))
    assert len(left) == 20 and _place(job).name in left
    assert [name for name in left if len(name) == 2] == [f"{age:02}" for age in range(19)]
    assert [entry.name for entry in home.glob(".*")] == [".new-query.resume"]


def test_a_trial_reckons_time_and_memory(image_folder, tmp_path):
    job = plan_job(request(image_folder, tmp_path), Told())
    found = estimate(job, Told())
    assert found.decode > 0 and found.train > 0
    assert found.memory > 10**7
    mean = sum(path.stat().st_size for path in image_folder.rglob("*.png")) / 40
    assert found.output == round(mean * 20)


def test_shards_count_with_all_members_of_a_sample(shard_folder, tmp_path):
    found = estimate(plan_job(request(shard_folder, tmp_path), Told()), Told())
    samples = open_samples([str(shard_folder)])
    assert found.output == round(samples.size.mean() * 20)


@pytest.mark.parametrize("given", [False, True])
def test_the_query_model_is_measured_after_every_epoch_on_what_validates_it(
    given, image_folder, validation_folder, tmp_path
):
    val = [str(validation_folder)] if given else []
    query = dataclasses.replace(QUICK, epochs=2)
    job = plan_job(request(image_folder, tmp_path, query=query, val=val), Told())
    found = train_scores(job, {}, Told())
    assert job.measured == len(found.validation) == (12 if given else 4)
    right = found.validation.integers("pred") == found.validation.integers("label")
    measured = found.history["val_accuracy"].to_pylist()
    assert len(measured) == 2 and measured[-1] == pytest.approx(right.mean())
    # What is measured is not learned from.
    visited = np.sum(found.history["class_visited"].to_pylist(), axis=0)
    assert visited.sum() == 2 * (40 if given else 36)
