"""Commands rebuilt from what a table has recorded: typed again, they make the same table."""

from __future__ import annotations

import os
import shlex
from unittest import mock

import pytest
from tiny_data import write_shards

from dprune_cli.cli.app import run
from dprune_cli.io.run_dir import RunConfig
from dprune_cli.io.table import TableMeta, open_table
from dprune_cli.report.commands import rebuild


def type_in(words):
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}):
        assert run([*words, "-q"]) == 0


def lines(steps, **meta):
    return [line for line, _ in rebuild(TableMeta(steps=steps, **meta))]


def step(command, **options):
    return {"command": command, "options": options}


def test_what_is_typed_again_makes_the_same_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = "my 'data'; $(touch x)"
    write_shards(tmp_path / root)
    commands = (
        ["score", root, "-m", "random", "--group-field", "place", "--seed", "3", "-o", "a"],
        ["quota", "a", "--keep", "40%", "--method", "longtail:factor=4", "--min-per-class", "1", "-o", "b"],
        ["select", "b", "--by", "random", "--pick", "top:end=low", "--seed", "5", "-o", "c"],
    )
    for words in commands:
        type_in(words)
    found = rebuild(open_table(str(tmp_path / "c")).meta)
    assert len(found) == 3
    for line, _ in found:
        program, *words = shlex.split(line)
        assert program == "dprune"
        type_in(words)
    assert (tmp_path / "selected.parquet").read_bytes() == (tmp_path / "c").read_bytes()
    assert not (tmp_path / "x").exists()


def test_a_scoring_says_whatever_differs_from_the_defaults():
    settings = {"epochs": 7, "lr": 0.1, "flip": False, "milestones": "0.3,0.6", "seed": 4, "amp": True}
    score = step(
        "score",
        methods=["el2n:epoch=2", "aum"],
        seed=4,
        val=["v"],
        runs=2,
        model="tiny",
        image_size=32,
        training=settings,
    )
    assert lines([score], root=["a b", "c"], reading={"label_field": "x.y"}) == [
        "dprune score 'a b' c -m el2n:epoch=2 -m aum --runs 2 --val v --label-field x.y --image-size 32 "
        "--model tiny --epochs 7 --milestones 0.3,0.6 --no-flip --seed 4 -o scores.parquet"
    ]


def test_recordings_are_named_by_their_option():
    score = step(
        "score", methods=["aum"], seed=0, recording="t", epochs=9, recordings={"from_trajectory": "t"}
    )
    assert lines([score]) == ["dprune score -m aum --from-trajectory t -o scores.parquet"]
    assert lines([step("score", methods=["aum"], recording="t")]) == []


def test_parameters_that_are_defaults_are_left_out_and_an_edited_file_stands_for_all():
    quota = step(
        "quota",
        by="group",
        method="drop",
        parameters={"smoothing": 1, "missing_class": "error"},
        keep="30%",
        val=["v1", "v2"],
        min_per_class=2,
        seed=0,
    )
    select = step(
        "select",
        by="aum",
        pick="stratified",
        seed=1,
        parameters={"bins": 50, "cutoff": 0.1, "cutoff_by": "aum", "cutoff_end": None},
    )
    assert lines([quota, select]) == [
        "dprune quota table.parquet --keep 30% --method drop:smoothing=1 --by group --val v1 --val v2 "
        "--min-per-class 2 -o quotas.parquet",
        "dprune select quotas.parquet --by aum --pick stratified:cutoff=0.1 --seed 1 -o selected.parquet",
    ]
    assert lines([step("quota", by="class", quotas="edited.csv")]) == [
        "dprune quota table.parquet --from edited.csv -o quotas.parquet"
    ]


def test_nothing_from_data_becomes_an_option_or_a_command():
    hostile = step("score", methods=["-o/etc/passwd"], seed=0)
    (line,) = lines([hostile], root=["--force", "$(rm)", "-"])
    assert shlex.split(line) == [
        *("dprune", "score", "-m=-o/etc/passwd", "-o", "scores.parquet"),
        *("--", "--force", "$(rm)", "-"),
    ]


@pytest.mark.parametrize("value", [None, 3, "x", [1], {"a": 1}])
def test_steps_of_other_tools_do_no_harm(value):
    names = (
        "methods",
        "training",
        "val",
        "recordings",
        "parameters",
        "method",
        "pick",
        "cutoff",
        "model",
        "by",
    )
    for command in ("score", "quota", "select", "train", "evaluate", "other"):
        assert len(lines([step(command, **dict.fromkeys(names, value))], root="d")) == (command != "other")


def test_a_run_folder_knows_all_of_its_training():
    config = RunConfig(
        model="tiny",
        classes=[],
        image_size=32,
        training={"epochs": 5, "lr": 0.2, "device": None},
        data={
            "root": ["d"],
            "val": ["v"],
            "sampler": "rcap",
            "keep": "0.3",
            "weighter": None,
            "group_field": "g",
        },
    )
    steps = [step("score", methods=["random"], seed=0), step("select", by="random", pick="random", keep="9")]
    found = rebuild(TableMeta(root="d", steps=[*steps, step("train", epochs=5)]), "my run", config)
    assert [line for line, _ in found][1:] == [
        "dprune select scores.parquet --by random --keep 9 --pick random -o selected.parquet",
        "dprune train d --table selected.parquet --sampler rcap --keep 0.3 --val v --image-size 32 "
        "--group-field g --model tiny --epochs 5 --lr 0.2 -o 'my run'",
    ]
    saved = rebuild(TableMeta(root="d", steps=steps[:1]), "query", config)
    assert saved[0][0] == "dprune score d -m random --save-model query -o scores.parquet"


def test_a_run_on_features_has_a_head_and_no_model():
    config = RunConfig(
        model="mlp:64,32",
        classes=[],
        image_size=0,
        features=8,
        training={"epochs": 5},
        data={"root": [], "from_features": ["f.parquet", "digest"]},
    )
    (found,) = rebuild(TableMeta(steps=[step("train", epochs=5)]), "run", config)
    assert found[0] == "dprune train --from-features f.parquet --head 64,32 --epochs 5 -o run"


def test_what_was_pruned_is_pruned_again_by_one_command(tmp_path, monkeypatch, image_folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    options = "--model tiny --epochs 1 --lr 0.03 --batch-size 8 --image-size 8 --seed 2 --keep 50%"
    type_in(["prune", str(image_folder), *options.split(), "--no-report", "-o", "small"])
    ((line, _),) = rebuild(open_table("small/kept.parquet").meta)
    program, *words = shlex.split(line)
    assert program == "dprune" and words[0] == "prune" and "0.03" in words
    type_in([*words, "--no-report"])
    assert (tmp_path / "smaller/kept.parquet").read_bytes() == (tmp_path / "small/kept.parquet").read_bytes()
