"""`dprune prune` as users type it, on folders and shards of unequal classes."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from commands import call, contents, must
from tiny_data import CLASSES, SIZES, write_folder

from dprune_cli.core.budget import allocate
from dprune_cli.io.table import read_table

FAST = ["--model", "tiny", "--epochs", "1", "--batch-size", "8", "--device", "cpu", "--image-size", "8"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept_keys(out):
    table = read_table(str(out / "kept.parquet"))
    return table.data.filter(table.data["keep"])["key"].to_pylist()


def test_a_folder_becomes_a_folder_of_links_with_its_tables_beside(image_folder, in_tmp):
    done = must("prune", image_folder, "--keep", "0.5", "-o", "small", *FAST, "--no-report")
    out = in_tmp / "small"
    images = list(out.rglob("*.png"))
    assert len(images) == 20
    for path in images:
        assert os.path.samefile(path, image_folder / path.relative_to(out))
    assert sorted(path.relative_to(out).with_suffix("").as_posix() for path in images) == sorted(
        kept_keys(out)
    )
    # Nothing beside the classes that would pass for one.
    assert {path.name for path in out.iterdir() if path.is_dir()} <= set(CLASSES)
    assert {path.name for path in out.iterdir() if path.is_file()} == {"kept.parquet", "validation.parquet"}
    for said in ("40 samples of 4 classes", "query model: tiny", "4 samples held out", "dprune train small"):
        assert said in done.err
    assert done.out == b""


def test_every_sample_stays_a_candidate_and_the_quotas_are_those_of_the_recalls(image_folder, in_tmp):
    done = must("prune", image_folder, "--keep", "30", "-o", "small", *FAST, "--no-report", "--json")
    table = read_table("small/kept.parquet")
    validation = read_table("small/validation.parquet")
    assert len(table) == 40 and table.data["status"].to_pylist() == ["ok"] * 40
    assert not table.data["pred"].null_count and not table.data["loss"].null_count
    # A model that has seen a sample cannot validate itself on it.
    held = set(validation.data["key"].to_pylist())
    unwatched = table.data.filter(table.data["aum"].is_null())["key"].to_pylist()
    assert set(unwatched) == held and len(held) == 4
    label, pred = validation.integers("label"), validation.integers("pred")
    error = [
        (np.sum(pred[label == one] != one) + 1) / (np.sum(label == one) + 2) if (label == one).any() else None
        for one in range(4)
    ]
    error = [np.mean([value for value in error if value is not None]) if e is None else e for e in error]
    quotas = {
        CLASSES[row["label"]]: row["quota"] for row in table.data.select(["label", "quota"]).to_pylist()
    }
    assert sum(quotas.values()) == 30
    found = json.loads(done.out)
    assert {name: item["kept"] for name, item in found["classes"].items()} == quotas
    assert found["kept"] == 30 and found["worst_class"] in CLASSES
    assert [quotas[name] for name in CLASSES] == allocate(np.array(error) * SIZES, SIZES, 30, 1).tolist()


def test_shards_become_shards_bit_for_bit(shard_folder, in_tmp):
    must("prune", shard_folder, "--keep", "50%", "-o", "small", *FAST, "--no-report", "--shard-samples", "8")
    shards = sorted(path.name for path in (in_tmp / "small").glob("*.tar"))
    assert shards == ["000000.tar", "000001.tar", "000002.tar"]
    before = {}
    for path in shard_folder.glob("*.tar"):
        with tarfile.open(path) as archive:
            before |= {member.name: archive.extractfile(member).read() for member in archive}
    after = {}
    for name in shards:
        with tarfile.open(in_tmp / "small" / name) as archive:
            after |= {member.name: archive.extractfile(member).read() for member in archive}
    assert after.items() <= before.items()
    assert {name.rsplit(".")[0] for name in after} == set(kept_keys(in_tmp / "small"))
    assert len(after) == 3 * 20
    # What was written can be trained on as it is.
    must("train", "small", "-o", "run", "--epochs", "1", "--model", "tiny", "--device", "cpu", "-q")


def test_another_budget_or_way_to_pick_takes_the_scores_that_are_known(image_folder, in_tmp):
    first = must("prune", image_folder, "--keep", "0.5", "-o", "one", *FAST, "--no-report")
    second = must("prune", image_folder, "--keep", "0.2", "-o", "two", *FAST, "--no-report")
    third = must("prune", image_folder, "--keep", "0.2", "-o", "three", *FAST, "--no-report", "--no-reuse")
    assert "training on 36 samples" in first.err and "training on 36 samples" in third.err
    assert "scores of an earlier command" in second.err and "training on" not in second.err
    planned = must("prune", image_folder, "--keep", "0.1", "-o", "four", *FAST, "--dry-run")
    assert "nothing would be trained" in planned.err
    assert len(kept_keys(in_tmp / "two")) == 8
    scores = [
        read_table(f"{name}/kept.parquet").data.select(["key", "aum", "pred"]) for name in ("one", "two")
    ]
    assert scores[0].equals(scores[1])
    names = contents(in_tmp / "two")
    assert [*names.values()] == [*contents(in_tmp / "three").values()]


def test_a_score_is_of_all_samples_and_takes_the_best(image_folder, in_tmp):
    done = must(
        "prune", image_folder, "--keep", "10", "--method", "forgetting", "-o", "s", *FAST, "--no-report"
    )
    assert "trained twice" in done.err
    table = read_table("s/kept.parquet")
    values = table.numbers("forgetting")
    keep = np.array(table.data["keep"].to_pylist())
    assert not np.isnan(values).any() and keep.sum() == 10
    assert values[keep].min() >= values[~keep].max()
    assert "quota" not in table


def test_given_validation_data_is_used_and_nothing_is_held_out(image_folder, validation_folder, in_tmp):
    done = must(
        *("prune", image_folder, "--keep", "0.5", "--method", "drop:score=aum", "--val", validation_folder),
        *("-o", "small", *FAST, "--no-report"),
    )
    assert f"validated on {validation_folder}" in done.err
    assert "validation has no sample of 'dog'" in done.err
    assert len(read_table("small/validation.parquet")) == 12
    table = read_table("small/kept.parquet")
    assert not np.isnan(table.numbers("aum")).any()
    values, keep = table.numbers("aum"), np.array(table.data["keep"].to_pylist())
    label = table.integers("label")
    for one in range(4):
        own = label == one
        if keep[own].any() and not keep[own].all():
            assert values[own & keep].max() <= values[own & ~keep].min() or values[own & keep].min() >= (
                values[own & ~keep].max()
            )


def test_a_dry_run_writes_nothing_and_says_what_would_be(image_folder, in_tmp):
    done = must("prune", image_folder, "--keep", "0.25", "-o", "small", *FAST, "--dry-run", "--json")
    assert not (in_tmp / "small").exists() and not list((in_tmp / "cache").rglob("*.parquet"))
    found = json.loads(done.out)
    assert found["train"] > 0 and found["memory"] > 0 and not found["known"]
    assert (found["samples"], found["classes"], found["kept"], found["measured"]) == (40, 4, 10, 4)
    assert found["model"] == "tiny" and found["trainings"] == [
        {"name": "query", "scores": ["aum"], "epochs": 1}
    ]
    for said in (
        "10 (25.0 %) to keep by drop",
        "1 epochs",
        "would take about",
        "would write small: 10 samples",
        "report.html",
    ):
        assert said in done.err


def test_a_dry_run_names_only_what_is_asked_for(image_folder, in_tmp):
    plain = must("prune", image_folder, "--keep", "0.25", "-o", "small", *FAST, "--dry-run", "--no-report")
    assert "with kept.parquet, validation.parquet\n" in plain.err
    more = must("prune", image_folder, "--keep", "0.25", "-o", "small", *FAST, "--dry-run", "--card")
    assert "with kept.parquet, validation.parquet, report.html, cards\n" in more.err


def test_broken_images_are_reported_and_never_kept(in_tmp):
    folder = write_folder(in_tmp / "images")
    (folder / "ant" / "03.png").write_bytes(b"no image")
    done = call("prune", folder, "--keep", "0.9", "-o", "small", *FAST, "--no-report")
    assert done.code == 5 and "ant/03" in done.err
    table = read_table("small/kept.parquet")
    assert Counter(table.data["status"].to_pylist()) == {"ok": 39, "decode_error": 1}
    assert "ant/03" not in kept_keys(in_tmp / "small") and len(kept_keys(in_tmp / "small")) == 35
    again = call("prune", folder, "--keep", "0.5", "-o", "other", *FAST, "--no-report")
    assert again.code == 5 and "scores of an earlier command" in again.err


def test_what_is_there_is_not_replaced_without_force(image_folder, in_tmp):
    must("prune", image_folder, "--keep", "0.5", "-o", "small", *FAST, "--no-report", "-q")
    before = contents(in_tmp / "small")
    refused = call("prune", image_folder, "--keep", "0.2", "-o", "small", *FAST, "--no-report")
    assert refused.code == 2 and "small exists already; give --force" in refused.line
    assert contents(in_tmp / "small") == before
    must("prune", image_folder, "--keep", "0.2", "-o", "small", *FAST, "--no-report", "--force", "-q")
    assert len(kept_keys(in_tmp / "small")) == 8
    assert len(list((in_tmp / "small").rglob("*.png"))) == 8


def test_a_folder_of_somebody_else_is_not_replaced_even_with_force(image_folder, in_tmp):
    (in_tmp / "mine").mkdir()
    (in_tmp / "mine" / "thesis.txt").write_text("all of it")
    done = call("prune", image_folder, "--keep", "0.5", "-o", "mine", *FAST, "--no-report", "--force")
    assert done.code == 2 and "no folder that prune wrote" in done.line
    assert (in_tmp / "mine" / "thesis.txt").read_text() == "all of it"


def test_images_that_cannot_be_decoded_at_all_are_counted(in_tmp):
    folder = write_folder(in_tmp / "images")
    for number in range(3):
        (folder / "bee" / f"phone{number}.HEIC").write_bytes(b"a photo")
    (folder / "notes.txt").write_text("not an image")
    done = must("prune", folder, "--keep", "0.5", "-o", "small", *FAST, "--no-report")
    assert "3 images are left out" in done.err and "(3 heic)" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--keep 0.5", 2, "-o"),
        ("-o small", 2, "--keep"),
        ("--keep 0.5 -o small --method dorp", 2, "no way to prune called 'dorp'"),
        ("--keep 41 -o small", 4, "there are only 40"),
        ("--keep 0 -o small", 4, "keeps none"),
        ("--keep x -o small", 2, "write a fraction"),
        ("--keep 0.5 -o small --epochs 0", 2, "--epochs 0"),
        ("--keep 0.5 -o small --shard-samples 0", 2, "--shard-samples"),
        ("--keep 0.5 -o small --val nowhere", 3, "nowhere"),
        ("--keep 0.5 -o small --max-errors x", 2, "--max-errors"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_leaves_nothing(arguments, code, said, image_folder, in_tmp):
    done = call("prune", image_folder, "--no-report", "-q", "--model", "tiny", *arguments.split())
    assert done.code == code, done.err
    assert said in done.line
    assert not (in_tmp / "small").exists()


def test_no_data_is_refused(in_tmp):
    assert "name the DATA" in call("prune", "--keep", "0.5", "-o", "small", "--no-report").line


def test_a_stream_becomes_shards_and_is_kept_where_that_is_asked_for(shard_folder, validation_folder, in_tmp):
    with_names = (shard_folder / "000000.tar").read_bytes()
    words = ("prune", "-", "--keep", "0.5", *FAST, "--no-report")
    done = call(*words, "-o", "small", stdin=with_names)
    assert done.code == 0, done.err
    assert len(kept_keys(in_tmp / "small")) == 10
    assert [path.name for path in (in_tmp / "small").glob("*.tar")] == ["000000.tar"]
    assert not list((in_tmp / "cache").rglob("*.parquet"))
    # Validation data are no stream, and leave what is kept of it alone.
    more = ("--spool", "spool", "--val", validation_folder)
    (in_tmp / "names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    done = call(*words, "-o", "other", *more, "--classes", "names.txt", stdin=with_names)
    assert done.code == 0, done.err
    assert (in_tmp / "spool" / "stdin.tar").read_bytes() == with_names
    assert len(read_table("other/validation.parquet")) == 12


def test_the_plan_and_the_summary_say_how_much_and_how_well(image_folder, validation_folder, in_tmp):
    words = ("prune", image_folder, "--keep", "12", "--val", validation_folder, *FAST, "--no-report")
    done = must(*words, "-o", "small", "--json")
    assert "40 samples of 4 classes, 12 (30.0 %) to keep by drop" in done.err
    recall = json.loads(done.out)["recall"]
    known = {name: value for name, value in recall.items() if value is not None}
    assert recall["dog"] is None and min(known.values()) < max(known.values())
    for said, value in (("worst", min(known.values())), ("best", max(known.values()))):
        # Of classes that are known equally well, the first.
        name = next(name for name, one in known.items() if one == value)
        assert f"{said} {100 * value:.1f} % ({name})" in done.err


@pytest.mark.parametrize("form", ["image_folder", "shard_folder"])
def test_a_card_describes_what_is_written_in_its_form(form, request, in_tmp):
    data = request.getfixturevalue(form)
    must("prune", data, "--keep", "0.5", "-o", "small", *FAST, "--no-report", "--card")
    names = {path.name for path in (in_tmp / "small").iterdir()}
    assert {"README.md", "croissant.json", "kept.parquet"} <= names
    described = json.loads((in_tmp / "small" / "croissant.json").read_text())
    files = [one.get("contentUrl") for one in described["distribution"]]
    assert ("_info.json" in names) == ("000000.tar" in files) == (form == "shard_folder")
    card = (in_tmp / "small" / "README.md").read_text()
    for name in CLASSES:
        assert name in card


def test_a_report_that_cannot_be_made_is_an_error_only_if_it_was_asked_for(image_folder, in_tmp):
    words = ("prune", image_folder, "--keep", "0.5", "-o", "small", *FAST)
    with mock.patch("dprune_cli.report.page.find_spec", return_value=None):
        refused = call(*words, "--report")
        assert refused.code == 2 and "pip install" in refused.line
        assert not (in_tmp / "small").exists() and not list((in_tmp / "cache").rglob("*.parquet"))
        done = must(*words)
    assert "warning: no report will be written: a report needs jinja2 and matplotlib" in done.err
    assert "look at" not in done.err and not (in_tmp / "small" / "report.html").exists()
    assert len(kept_keys(in_tmp / "small")) == 20


def test_a_report_is_the_same_whether_scores_were_known_or_not(image_folder, in_tmp):
    words = ("prune", image_folder, "--keep", "0.5", "-o", "small", *FAST, "--report", "--force")
    # Drawing takes longer than all the rest.
    with mock.patch("dprune_cli.report.figures.draw", return_value="<svg></svg>"):
        must(*words)
        first = contents(in_tmp / "small")
        assert "scores of an earlier command" in must(*words).err
    assert contents(in_tmp / "small") == first and str(in_tmp / "small" / "report.html") in first
