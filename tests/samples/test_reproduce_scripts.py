"""What the scripts of samples/reproduce would run: commands that dprune has, with the papers' numbers."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch
import typer
from reproduce_stubs import KIT, SCRIPTS, make_data, options_of, rehearse

from dprune_cli.cli.app import app
from dprune_cli.core.errors import BudgetError
from dprune_cli.quotas.base import QUOTAS
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.scores.base import SCORES
from dprune_cli.stages.train_sampler import make_sampler
from dprune_cli.train.observe import RunInfo
from dprune_cli.weighters.base import WEIGHTERS

DENSITIES = ["0.1", "0.5", "0.9"]


COMMANDS = typer.main.get_command(app).commands


def parse(words):
    """The parameters of a command line; raises if dprune has no such option."""
    return COMMANDS[words[0]].make_context(words[0], list(words[1:])).params


# All of it would be 280 models.
PART_OF = {"tdds": "*", "drop": "drop/*/*/?.[0159]/0", "adapruner": "*", "scores": "*"}
PART_OF |= {"samplers": "*"}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """Of every script, the commands and rows of the experiment with one seed."""
    return {
        script: rehearse(script, tmp_path_factory.mktemp(script), "--seeds", "0", "--only", PART_OF[script])
        for script in SCRIPTS
    }


@pytest.mark.parametrize("script", ["common", *SCRIPTS])
def test_the_shell_can_read_it(script):
    subprocess.run(["bash", "-n", KIT / f"{script}.sh"], check=True)
    assert os.access(KIT / f"{script}.sh", os.X_OK) == (script != "common")


@pytest.mark.parametrize("script", SCRIPTS)
def test_dprune_has_every_option_and_method(script, rehearsed):
    commands, _ = rehearsed[script]
    assert {words[0] for words in commands} >= {"score", "select", "train", "evaluate"}
    # Options do not depend on paths, so one command of a kind is enough.
    kinds = {tuple(word for word in words if not os.path.isabs(word)): words for words in commands}
    for words in kinds.values():
        found = parse(words)
        if words[0] == "score":
            for spec in found["method"]:
                # A query model is trained by the recipe, so its methods must suit that schedule.
                SCORES.make(spec).recorders(found["epochs"] if found["recipe"] else 200)
        if words[0] == "quota":
            QUOTAS.make(found["method"])
        if words[0] == "train" and found["weighter"]:
            WEIGHTERS.make(found["weighter"])
        if words[0] == "train":
            make_sampler(found["sampler"], found["keep"], validated=bool(found["val"]), stretched=False)


def test_tdds_trains_with_the_papers_numbers(rehearsed):
    commands, rows = rehearsed["tdds"]
    methods = ["random", "entropy", "forgetting", "el2n", "aum", "moderate", "dyn_unc", "tdds"]
    cells = [("full", "1.0"), *itertools.product(methods, ["0.7", "0.5", "0.3", "0.2", "0.1"])]
    made = Counter((row["dataset"], row["method"], row["keep"]) for row in rows)
    assert made == Counter((name, *cell) for name in ("cifar10", "cifar100") for cell in cells)
    trained = {
        options_of(words)["o"].rpartition("/")[2]: parse(words) for words in commands if words[0] == "train"
    }
    for keep, batch in {"0.7": 128, "0.5": 128, "0.3": 128, "0.2": 64, "0.1": 32}.items():
        found = trained[f"tdds-{keep}"]
        assert (found["batch_size"], found["epochs"], found["stretch"]) == (batch, 200, "none")
        assert (found["lr"], found["momentum"], found["weight_decay"]) == (0.1, 0.9, 5e-4)
        assert (found["model"], found["schedule"], found["val"]) == ("resnet18", "cosine", ())
    specs = {options_of(words)["m"] for words in commands if "--from-trajectory" in words}
    wanted = [(90, 10), (70, 10), (60, 20), (20, 10), (10, 5)]
    assert specs == {f"tdds:epochs={last},window={window}" for last, window in wanted}
    # One training of the query model a data set, for all keep fractions and methods.
    assert sum("--record-trajectory" in words for words in commands) == 2
    for words in commands:
        if words[0] == "select":
            found = parse(words)
            assert found["end"] == ("hard" if found["by"] == "aum" else None)
            assert found["weight_by"] == ("tdds" if found["by"] == "tdds" else None)
        if words[0] == "evaluate":
            assert [path.rpartition("/")[2] for path in words[2:4]] == ["val", "test"]


def test_tdds_knows_the_papers_table(rehearsed):
    numbers = {(row["dataset"], row["method"], row["keep"]): row["paper"] for row in rehearsed["tdds"][1]}
    assert all(numbers.values())
    assert numbers["cifar100", "tdds", "0.1"] == "54.51" and numbers["cifar10", "tdds", "0.7"] == "95.47"
    assert numbers["cifar100", "full", "1.0"] == "78.21" and numbers["cifar100", "el2n", "0.1"] == "9.10"
    assert {row["figure"] for row in rehearsed["tdds"][1]} == {"accuracy"}


def test_drop_runs_every_method_at_every_density(rehearsed):
    _, rows = rehearsed["drop"]
    methods = ["random", "random_drop", "el2n", "el2n_drop", "random_el2nq", "el2n_cdb_w"]
    cells = [("full", "1.0"), ("full_cdb_w", "1.0"), *itertools.product(methods, DENSITIES)]
    names = ["cifar10", "cifar100", "cifar100_lt2", "cifar100_lt5", "cifar100_lt20"]
    made = Counter((row["dataset"], row["method"], row["keep"]) for row in rows)
    assert made == Counter((name, *cell) for name in names for cell in cells)
    numbers = {(row["dataset"], row["method"], row["keep"]): row["paper"] for row in rows if row["paper"]}
    assert numbers == {
        ("cifar100", "full", "1.0"): "35.8",
        ("cifar100", "full_cdb_w", "1.0"): "41.5",
        ("cifar100", "random_drop", "0.5"): "45.4",
    }


def test_drop_has_nine_densities(tmp_path):
    _, rows = rehearse("drop", tmp_path, "--seeds", "0", "--only", "drop/cifar10/el2n/*")
    assert [row["keep"] for row in rows] == [f"0.{number}" for number in range(1, 10)]


def test_drop_follows_the_papers_recipe(rehearsed):
    commands, _ = rehearsed["drop"]
    for words in commands:
        found = parse(words)
        if words[0] == "train":
            vgg19 = "/cifar100" in options_of(words)["o"]
            assert (found["model"], found["weight_decay"]) == (("vgg19", 5e-4) if vgg19 else ("vgg16", 1e-4))
            assert (found["batch_size"], found["lr"], found["lr_drop"]) == (128, 0.1, 0.2)
            query = "query" in options_of(words)["o"]
            assert (found["epochs"], found["schedule"]) == ((16, "constant") if query else (160, "step"))
            assert found["milestones"] == "0.5,0.75"
            assert (found["weighter"] == "cdb_w") == bool(found["val"]) == ("cdb_w" in words)
        if words[0] == "quota" and found["method"] == "drop":
            assert len(found["val"]) == 5
        # Half of the test images choose, the others judge.
        if words[0] == "evaluate":
            assert [path.rpartition("/")[2] for path in found["paths"][1:]] == [
                "val" if "query" in found["paths"][0] else "test"
            ]


def test_drop_selects_by_what_the_method_says(rehearsed):
    made = {}
    for words in rehearsed["drop"][0]:
        if words[0] == "select" and "--seed" in words and "/cifar10/" in words[1]:
            found = parse(words)
            table = found["table"].rpartition("/")[2].rpartition("-")[0]
            made[options_of(words)["o"].rpartition("/")[2]] = (table, found["by"], found["keep"])
    assert made["random-0.5.parquet"] == ("", "random", "0.5")
    assert made["el2n-0.5.parquet"] == made["el2n_cdb_w-0.5.parquet"] == ("", "el2n", "0.5")
    assert made["random_drop-0.5.parquet"] == ("quota_drop", "random", None)
    assert made["el2n_drop-0.5.parquet"] == ("quota_drop", "el2n", None)
    assert made["random_el2nq-0.5.parquet"] == ("quota_el2n", "random", None)


def test_long_tails_have_the_size_that_keeps_the_largest_class_whole(rehearsed):
    kept = {
        options_of(words)["method"]: float(options_of(words)["keep"])
        for words in rehearsed["drop"][0]
        if words[0] == "quota" and "longtail" in " ".join(words)
    }
    for factor in (2, 5, 20):
        share = sum(factor ** (-k / 99) for k in range(100)) / 100
        assert kept[f"longtail:factor={factor}"] == pytest.approx(share, abs=1e-4)


def test_adapruner_learns_a_mask_for_every_keep_fraction(rehearsed):
    commands, rows = rehearsed["adapruner"]
    keeps = ["0.95", "0.9", "0.8", "0.7", "0.6"]
    cells = [("full", "1.0"), *itertools.product(["random", "adapruner"], keeps)]
    made = Counter((row["dataset"], row["method"], row["keep"]) for row in rows)
    assert made == Counter((name, *cell) for name in ("cifar10", "cifar100") for cell in cells)
    paper = {(row["method"], row["keep"]): row["paper"] for row in rows if row["dataset"] == "cifar10"}
    assert [paper["adapruner", keep] for keep in keeps] == ["96.42", "96.40", "96.33", "96.29", "95.85"]
    assert paper["full", "1.0"] == "96.27" and paper["random", "0.6"] == ""
    masks = [words for words in commands if words[0] == "score" and "adapruner:" in " ".join(words)]
    assert sorted(options_of(words)["m"] for words in masks) == sorted(
        2 * [f"adapruner:keep={k}" for k in keeps]
    )
    assert {(parse(words)["epochs"], parse(words)["batch_size"]) for words in masks} == {(200, 256)}


def test_only_and_known_rows_spare_work(tmp_path):
    one = ["--seeds", "0 1", "--only", "tdds/cifar10/tdds/0.[12]/*"]
    commands, rows = rehearse("tdds", tmp_path, *one)
    assert [(row["keep"], row["seed"]) for row in rows] == [(k, s) for s in "01" for k in ("0.2", "0.1")]
    assert Counter(words[0] for words in commands) == {"score": 12, "select": 4, "train": 4, "evaluate": 4}
    # Scores and selections are there, and so is one row; its model was deleted, as all are.
    commands, rows = rehearse("tdds", tmp_path, *one, known="tdds/cifar10/tdds/0.2/0\n")
    assert len(rows) == 3 and Counter(words[0] for words in commands) == {"train": 3, "evaluate": 3}


def test_seeds_and_stretch_reach_every_command(tmp_path):
    only = ["--only", "drop/cifar10/el2n_drop/0.5/*", "--seeds", "3", "--stretch", "drop"]
    commands, rows = rehearse("drop", tmp_path, *only)
    assert [(row["seed"], row["stretch"]) for row in rows] == [("3", "drop")]
    final = [words for words in commands if words[0] == "train" and "--table" in words]
    assert [(options_of(words)["seed"], options_of(words)["stretch"]) for words in final] == [("3", "drop")]
    queries = [options_of(words)["seed"] for words in commands if "constant" in words]
    assert queries == ["15", "16", "17", "18", "19"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_runs_every_method(script, rehearsed, tmp_path):
    commands, rows = rehearse(script, tmp_path, "--quick", "--seeds", "0")
    assert {row["method"] for row in rows} == {row["method"] for row in rehearsed[script][1]}
    assert {row["run"] for row in rows} == {"quick"} and len({row["keep"] for row in rows}) in (2, 3)
    for words in commands:
        found = parse(words)
        if words[0] == "train" or (words[0] == "score" and found["recipe"]):
            assert found["model"] == "tiny" and found["epochs"] <= 4
            assert all("/out/quick/" in path for path in found["data"])
        for spec in found.get("method") or [] if words[0] == "score" else []:
            SCORES.make(spec).recorders(4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --data DIR"),
        (["--data"], "--data needs a value"),
        (["--fast"], "there is no option --fast"),
        (["--data", "nowhere"], "there is no nowhere/cifar10/train; unpack.py makes it"),
    ],
)
def test_wrong_options_are_told(options, said, tmp_path):
    rehearse("tdds", tmp_path, "--only", "nothing")
    path = f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", KIT / "tdds.sh", *options], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("tdds.sh: ") and said in done.stderr


def test_help_names_every_option(tmp_path):
    make_data(tmp_path / "data")
    said = subprocess.run(
        ["bash", KIT / "drop.sh", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in ("data", "out", "seeds", "only", "stretch", "results", "quick"):
        assert f"  --{option}" in said


def test_every_score_is_compared_with_random(rehearsed):
    commands, rows = rehearsed["scores"]
    (scored,) = (parse(words) for words in commands if words[0] == "score" and "--val" in words)
    assert {spec.partition(":")[0] for spec in scored["method"]} == {*SCORES.names()} - {"random"}
    made = Counter((row["method"], row["keep"]) for row in rows)
    methods = {*SCORES.names(), "tdds_weights", "ccs"}
    assert made == Counter([("full", "1.0"), *itertools.product(methods, ["0.5", "0.3", "0.1"])])
    assert not any(row["paper"] for row in rows)


# Beside every sampler with its defaults.
VARIANTS = {"rcap_class": "rcap:aggregate=class", "rcap_beta0.25": "rcap:beta=0.25"}


def start_sampler(spec, keep, epochs, samples):
    """Start it on ten unequal classes; raises if it cannot meet the budget."""
    pattern = torch.repeat_interleave(torch.arange(10), torch.arange(10, 0, -1))
    target = pattern[torch.arange(samples) % len(pattern)]
    keys = [str(row) for row in range(samples)]
    run = RunInfo(keys, target, 10, epochs, validation=len(pattern), validation_target=pattern)
    SAMPLERS.make(spec).start(run, round(float(keep) * samples))


def trained_with_samplers(commands):
    """Method, keep fraction and parameters of the `train` commands that name a sampler."""
    found = [parse(words) for words in commands if words[0] == "train"]
    return [(*Path(one["output"]).name.rsplit("-", 1), one) for one in found if one["sampler"]]


def test_every_sampler_is_compared_with_all_data(rehearsed):
    commands, rows = rehearsed["samplers"]
    methods = {*SAMPLERS.names(), *VARIANTS}
    cells = {("full", "1.0"), *itertools.product(methods, ["0.5", "0.3", "0.1"])} - {("infobatch", "0.1")}
    assert Counter((row["method"], row["keep"]) for row in rows) == Counter(cells)
    assert {row["claim"] for row in rows} == {"samplers"} and not any(row["paper"] for row in rows)
    (tail,) = (parse(words) for words in commands if words[0] == "quota")
    assert (tail["method"], tail["keep"]) == ("longtail:factor=10", "10000")
    trained = trained_with_samplers(commands)
    assert {(method, keep) for method, keep, _ in trained} == cells - {("full", "1.0")}
    for method, keep, found in trained:
        assert (found["sampler"], found["keep"]) == (VARIANTS.get(method, method), keep)
        assert (found["model"], found["epochs"], found["table"]) == ("tiny", 20, None)
        assert [path.rpartition("/")[2] for path in found["val"]] == (["val"] if method == "drop" else [])


def test_every_sampler_can_meet_its_budget_but_for_the_cell_that_is_left_out(rehearsed, tmp_path):
    quick, _ = rehearse("samplers", tmp_path, "--quick", "--seeds", "0")
    for commands, samples in ((rehearsed["samplers"][0], 10000), (quick, 1000)):
        for _, keep, found in trained_with_samplers(commands):
            start_sampler(found["sampler"], keep, found["epochs"], samples)
    with pytest.raises(BudgetError):
        start_sampler("infobatch", "0.1", 20, 10000)


def test_correlations_are_printed_before_a_run_of_rcap_is_deleted(tmp_path):
    _, rows = rehearse("samplers", tmp_path, "--seeds", "7", "--only", "samplers/*/r*/0.3/*")
    assert {row["method"] for row in rows} == {"random", "rs2", "rcap", *VARIANTS}
    work = tmp_path / "out" / "full" / "samplers" / "cifar10" / "7"
    noted = (work / "correlation.txt").read_text().split()
    assert noted == [f"{work}/{method}-0.3" for method in ("rcap", *VARIANTS)]
    assert not list(work.glob("rcap*"))
