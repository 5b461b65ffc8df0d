"""The Python files of samples/reproduce: unpacking, recording, the tables; and one real run of a script."""

from __future__ import annotations

import argparse
import doctest
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from reproduce_stubs import KIT, load
from tiny_data import CLASSES, as_png, make_images, make_keys

from dprune_cli.io.dataset import open_samples

record, table, unpack = load("record"), load("table"), load("unpack")

SIZES, TEST_SIZES = (7, 4, 2, 1), (5, 4, 3, 1)


def write_parquet(path, sizes, seed):
    labels, pixels = make_images(sizes, seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    columns = {
        "key": [make_keys(sizes)[row] for row in order],
        "label": pa.array(labels[order], pa.int16()),
        "class": [CLASSES[labels[row]] for row in order],
        "image": [as_png(pixels[row]) for row in order],
    }
    pq.write_table(pa.table(columns), path)
    return dict(zip(columns["key"], columns["image"], strict=True)), columns["key"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    train, _ = write_parquet(folder / "train.parquet", SIZES, 0)
    test, order = write_parquet(folder / "test.parquet", TEST_SIZES, 1)
    unpack.main(
        [
            str(folder / "data"),
            "--train",
            str(folder / "train.parquet"),
            "--test",
            str(folder / "test.parquet"),
        ]
    )
    return folder, train, test, order


def images_of(folder):
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                key, _, suffix = member.name.rpartition(".")
                if suffix != "cls":
                    found[key] = archive.extractfile(member).read()
    return found


def test_images_are_unpacked_byte_for_byte(unpacked):
    folder, train, test, _ = unpacked
    assert images_of(folder / "data" / "train") == train
    val = images_of(folder / "data" / "val")
    assert val | images_of(folder / "data" / "test") == test


def test_the_first_half_of_every_class_is_validation(unpacked):
    folder, _, _, order = unpacked
    halves = {name: set(images_of(folder / "data" / name)) for name in ("val", "test")}
    assert not halves["val"] & halves["test"]
    for name, size in zip(CLASSES, TEST_SIZES, strict=True):
        own = [key for key in order if key.startswith(f"{name}/")]
        assert set(own[: size // 2]) <= halves["val"] and set(own[size // 2 :]) <= halves["test"]


def test_dprune_reads_what_was_unpacked(unpacked):
    folder, train, _, _ = unpacked
    samples = open_samples([str(folder / "data" / "train")])
    assert samples.ok().all() and set(samples.keys) == set(train) and list(samples.classes) == CLASSES
    assert Counter(samples.label.tolist()) == dict(enumerate(SIZES))
    assert all(key.startswith(CLASSES[label]) for key, label in zip(samples.keys, samples.label, strict=True))


def test_many_samples_make_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "SHARD_SAMPLES", 3)
    png = as_png(np.zeros((8, 8, 3), np.uint8))
    assert unpack.write_shards(tmp_path / "out", ["a"], ((f"a/{row}", 0, png) for row in range(7))) == 7
    assert [len(images_of(tmp_path / "out"))] == [7]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == [
        f"00000{n}.tar" for n in range(3)
    ]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([("a/1.x", 0, b"\x89PNG")], "has a dot"),
        ([("a/1", 0, b"\x89PNG"), ("a/1", 0, b"\x89PNG")], "stands there twice"),
        ([("a/1", 0, b"GIF89a")], "neither JPEG nor PNG nor WebP"),
    ],
)
def test_what_cannot_be_a_sample_is_refused(samples, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        unpack.write_shards(tmp_path / "out", ["a"], samples)


def test_unpacking_refuses_other_classes_and_what_is_there(tmp_path):
    def source(*names):
        return unpack.Source(["a/1"], [0], list(names), iter([b"\x89PNG"]))

    with pytest.raises(ValueError, match="same classes"):
        unpack.unpack(tmp_path / "out", source("a"), source("b"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="is there already"):
        unpack.unpack(tmp_path / "out", source("a"), source("a"))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    columns = {"key": ["x/1"], "label": pa.array([2], pa.int16()), "class": ["x"], "image": [b""]}
    pq.write_table(pa.table(columns), tmp_path / "gap.parquet")
    with pytest.raises(ValueError, match="from 0"):
        unpack.read_parquet(tmp_path / "gap.parquet")


def test_torchvisions_pixels_are_kept(tmp_path, monkeypatch):
    from torchvision import datasets

    labels, pixels = make_images((3, 2), 5)

    class Downloaded:
        def __init__(self, root, train, download):
            assert root == str(tmp_path) and train and download
            self.data, self.targets, self.classes = pixels, labels.tolist(), ["wild cat", "dog"]

    monkeypatch.setattr(datasets, "CIFAR100", Downloaded)
    found = unpack.read_torchvision("cifar100", tmp_path, train=True)
    assert found.classes == ["wild_cat", "dog"] and found.keys[3] == "dog/00003"
    for image, wanted in zip(found.images, pixels, strict=True):
        assert (np.asarray(Image.open(io.BytesIO(image))) == wanted).all()


def row(**given):
    plain = dict.fromkeys(record.COLUMNS, "")
    plain |= {"claim": "tdds", "dataset": "cifar10", "method": "tdds", "keep": "0.1", "stretch": "none"}
    plain |= {"seed": "0", "run": "full", "model": "resnet18", "epochs": "200"}
    plain |= {"accuracy": "85.00", "worst_class": "70.00", "gap": "20.00", "std": "7.00"}
    plain |= {"seconds": "12.3"}
    plain |= {"paper_figure": "accuracy", "paper": "85.46", "dprune": "1", "torch": "2", "hardware": "a GPU"}
    return {**plain, **given}


def test_a_row_is_added_once(tmp_path):
    path = tmp_path / "results.csv"
    assert record.read_rows(path) == []
    assert record.add_row(path, row()) and record.add_row(path, row(seed="1"))
    before = path.read_bytes()
    assert not record.add_row(path, row(accuracy="1.00"))
    assert path.read_bytes() == before and [found["seed"] for found in record.read_rows(path)] == ["0", "1"]
    # The same cell of a quick or stretched run is another measurement.
    assert record.add_row(path, row(run="quick")) and record.add_row(path, row(stretch="drop"))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_other_columns_is_left_alone(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="the columns are not"):
        record.add_row(path, row())
    assert path.read_text() == "a,b\n1,2\n"


def _add_ten(path, seed):
    for number in range(10):
        record.add_row(path, row(seed=str(seed), keep=f"0.{number}"))


def test_processes_side_by_side_lose_no_row(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_ten, args=(tmp_path / "results.csv", seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({record.identity(found) for found in record.read_rows(tmp_path / "results.csv")}) == 30


@pytest.mark.parametrize(("run", "paper"), [("full", ("accuracy", "85.46", "0.21")), ("quick", ("", "", ""))])
def test_a_row_is_in_percent_and_quick_ones_have_no_paper(run, paper):
    names = dict.fromkeys(record.IDENTITY, "x") | {"run": run, "hardware": "a CPU"}
    given = argparse.Namespace(**names, figure="accuracy", paper="85.46+-0.21")
    found = {"accuracy": 0.85, "worst_class": 0.7, "gap": 0.2, "std": 0.06666}
    made = record.make_row(given, found, {"model": "tiny", "training": {"epochs": 4}}, "12.3")
    assert [made[name] for name in record.FIGURES] == ["85.00", "70.00", "20.00", "6.67"]
    assert tuple(made[name] for name in record.PAPER) == paper
    assert (made["model"], made["epochs"], made["seconds"]) == ("tiny", "4", "12.3") and set(made) == set(
        record.COLUMNS
    )


def test_the_seconds_of_a_row_are_those_of_planning_and_visits(tmp_path):
    columns = {"seconds": [9.0, 9.0], "plan_seconds": [0.5, 0.25], "visit_seconds": [2.0, 3.5]}
    pq.write_table(pa.table(columns), tmp_path / "history.parquet")
    assert record.training_seconds(tmp_path) == "6.2"
    assert record.COLUMNS.index("seconds") == record.COLUMNS.index("std") + 1


def test_known_rows_are_those_of_the_same_kind(tmp_path, capsys):
    path = tmp_path / "results.csv"
    for one in (row(), row(run="quick", seed="5"), row(stretch="drop", seed="6")):
        record.add_row(path, one)
    record.main(["known", str(path), "--run", "quick", "--stretch", "none"])
    assert capsys.readouterr().out == "tdds/cifar10/tdds/0.1/5\n"


def test_a_failed_evaluation_adds_nothing(tmp_path):
    path = tmp_path / "results.csv"
    options = [word for name in record.IDENTITY for word in (f"--{name}", "x")]
    options += ["--hardware", "h", "--figure", "accuracy", "--paper", ""]
    done = subprocess.run(
        [sys.executable, KIT / "record.py", "add", path, tmp_path, *options],
        input="",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and not path.exists()
    assert done.stderr == f"record.py: there is no measurement of {tmp_path}\n"


def test_the_processor_has_a_name_but_the_machine_has_none(tmp_path):
    about = tmp_path / "cpuinfo"
    about.write_text("processor\t: 0\nmodel name\t: Some CPU\nprocessor\t: 1\nmodel name\t: Some CPU\n")
    assert record.processor(about) == "Some CPU, 2 threads"
    about.write_text("processor: 0\n")
    assert record.processor(about) == record.processor(tmp_path / "none") == ""
    assert os.uname().nodename not in record.hardware()


def test_a_table_has_means_spreads_papers_and_empty_cells():
    rows = [row(), row(seed="1", accuracy="86.00"), row(method="full", keep="1.0", paper="", paper_figure="")]
    rows.append(row(method="random", keep="0.05", run="full", paper_figure="", paper=""))
    lines = table.render([*rows, row(dataset="cifar100", accuracy="54.00")]).splitlines()
    start = lines.index("| method | keep 1.0 | keep 0.1 | keep 0.05 |")
    assert lines[start + 2 : start + 5] == [
        "| full | 85.00 |  |  |",
        "| random |  |  | 85.00 |",
        "| tdds |  | 85.50 (85.00 - 86.00) [85.46] |  |",
    ]
    assert lines[start - 2] == (
        "**TDDS: accuracy**, cifar10, resnet18, 200 epochs, seeds 0 1 (a GPU, dprune 1, torch 2)"
    )
    assert "| tdds | 54.00 [85.46] |" in lines


def test_claims_about_the_worst_class_show_it_first():
    text = table.render([row(claim="drop", paper_figure="worst_class", paper="45.40")])
    worst, average = text.index("worst-class accuracy"), text.index("DRoP: accuracy")
    assert worst < text.index("| tdds | 70.00 [45.40] |") < average < text.index("| tdds | 85.00 |")


def test_samplers_are_compared_in_seconds_too_and_the_table_says_so():
    rows = [
        row(claim="samplers", method="rcap", paper="", paper_figure=""),
        row(claim="samplers", method="rcap", seed="1", seconds="12.9", paper="", paper_figure=""),
        row(claim="samplers", method="rs2", keep="0.3", seconds="", paper="", paper_figure=""),
    ]
    text = table.render(rows)
    lines = text.splitlines()
    titles = [line for line in lines if line.startswith("**")]
    assert [title.split("**")[1] for title in titles] == [
        "Every sampler: accuracy",
        "Every sampler: worst-class accuracy",
        "Every sampler: seconds of training",
    ]
    assert ["not in percent but in seconds" in title for title in titles] == [False, False, True]
    after = lines[lines.index(titles[2]) :]
    assert after[4:6] == ["| rcap |  | 12.6 (12.3 - 12.9) |", "| rs2 |  |  |"]
    assert "| rcap |  | 85.00 (85.00 - 85.00) |" in text and lines[0] == table.NOTE_FULL


def test_full_and_quick_runs_are_never_in_one_table(tmp_path, capsys):
    path = tmp_path / "results.csv"
    record.add_row(path, row(run="quick", accuracy="11.11", paper="", paper_figure=""))
    table.main([str(path)])
    assert capsys.readouterr().out == f"{table.NOTHING}\n"
    record.add_row(path, row(accuracy="22.22"))
    table.main([str(path)])
    full = capsys.readouterr().out
    table.main([str(path), "--quick"])
    quick = capsys.readouterr().out
    assert "22.22" in full and "11.11" not in full and "QUICK" not in full
    assert "11.11" in quick and "22.22" not in quick and quick.startswith("QUICK")


def test_the_shipped_results_can_be_read_and_shown():
    rows = record.read_rows(KIT / "results.csv")
    assert len({record.identity(found) for found in rows}) == len(rows)
    for found in rows:
        assert found["run"] in ("full", "quick") and (found["run"] == "full" or not found["paper"])
        assert 0 <= float(found["worst_class"]) <= float(found["accuracy"]) <= 100
        assert "/" not in found["hardware"]
        # Those of other claims are from before seconds were measured, or after.
        assert float(found["seconds"]) > 0 if found["claim"] == "samplers" or found["seconds"] else True
    for quick in (False, True):
        table.render([found for found in rows if (found["run"] == "quick") is quick], quick=quick)


@pytest.mark.parametrize("module", [record, table, unpack])
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.attempted >= 1 and result.failed == 0


@pytest.mark.slow
def test_a_script_measures_resumes_and_records(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10").symlink_to(KIT.parent / "cifar10")
    arguments = [
        "bash",
        KIT / "tdds.sh",
        "--data",
        "data",
        "--quick",
        "--seeds",
        "0",
        "--results",
        "results.csv",
    ]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
    }

    def run(only):
        return subprocess.run(
            [*arguments, "--only", only], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    # Fewer training images than a quick run draws: the sample is refused, in one line.
    refused = run("tdds/*/random/0.1/0")
    assert refused.returncode == 4 and "Traceback" not in refused.stderr
    # What `subset` would have drawn.
    drawn = tmp_path / "reproduced" / "quick" / "data" / "cifar10"
    drawn.mkdir(parents=True, exist_ok=True)
    for part in ("train", "val", "test"):
        if not (drawn / part).exists():
            (drawn / part).symlink_to(KIT.parent / "cifar10" / part)
    for only, rows in (("tdds/*/random/0.1/0", 1), ("tdds/*/[rt]*/0.1/0", 2)):
        done = run(only)
        assert done.returncode == 0, done.stderr
        found = record.read_rows(tmp_path / "results.csv")
        assert len(found) == rows
    assert [one["method"] for one in found] == ["random", "tdds"]
    assert {(one["model"], one["epochs"], one["run"]) for one in found} == {("tiny", "4", "quick")}
    assert all(float(one["seconds"]) > 0 for one in found)
    # Weights by score: mean 1 over the kept.
    chosen = pq.read_table(next(tmp_path.rglob("tdds-0.1.parquet"))).to_pandas()
    assert chosen.weight[chosen.keep].mean() == pytest.approx(1, abs=1e-5)
    assert chosen.keep.sum() == round(0.1 * len(chosen))
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("logits.parquet"))
    assert json.loads(pq.read_schema(next(tmp_path.rglob("scores.parquet"))).metadata[b"dprune"])["scores"][
        "el2n"
    ]
