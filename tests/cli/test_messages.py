from __future__ import annotations

import json

import pytest
from bad_data import members, write_members
from commands import QUICK, call, must, spawn

COMMANDS = ["score", "quota", "select", "train", "evaluate", "methods"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_eighty_columns(command):
    done = must(*command, "--help")
    assert must(*command, "-h").out == done.out and done.err == ""
    text = done.out.decode()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(name in text for name in (command or COMMANDS))


def test_nothing_asked_shows_the_help_text():
    done = call()
    assert done.code == 2 and "Usage: dprune" in done.out.decode() + done.err and "error" not in done.err


def test_the_version():
    assert must("--version").out.decode().split()[0] == "dprune"


def test_quiet_commands_say_nothing(image_folder, folder_table, trained_run, tmp_path):
    for words in (
        ["score", image_folder, "-m", "random", "-o", tmp_path / "a"],
        ["quota", folder_table, "--keep", "5", "--method", "uniform", "-o", tmp_path / "b"],
        ["select", folder_table, "--keep 1 --by random", "--shards", tmp_path / "c", "-o", tmp_path / "d"],
        ["train", image_folder, "-o", tmp_path / "e", *QUICK],
        ["evaluate", trained_run, image_folder, "-o", tmp_path / "f"],
    ):
        done = must(*words, "-q")
        assert done.err == ""
        assert done.out == b"" or words[0] == "evaluate"  # whose result goes there
    failed = call("select", folder_table, "--keep", "99", "--by", "random", "-o", tmp_path / "g", "-q")
    assert failed.code == 4 and "--keep 99" in failed.line


def test_a_traceback_only_for_who_asks(tmp_path):
    words = ["select", tmp_path / "nothing", "--by", "random", "--keep", "3", "-o", tmp_path / "out"]
    assert "Traceback" not in call(*words).err
    done = call(*words, "--debug")
    assert done.code == 3 and "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("dprune: error: ")


def test_evaluate_prints_its_result(trained_run, image_folder, tmp_path):
    done = must("evaluate", trained_run, image_folder)
    assert done.out.decode().startswith(f"{trained_run}: accuracy ")
    assert len(done.out.splitlines()) == 1 and "%" in done.out.decode()
    result = json.loads(must("evaluate", trained_run, image_folder, "--json", "-o", tmp_path / "table").out)
    assert set(result) == {"run", "samples", "accuracy", "worst_class", "gap", "std", "recall"}
    assert result["samples"] == 40 and set(result["recall"]) == {"ant", "bee", "cat", "dog"}
    assert result["worst_class"] == min(result["recall"].values())
    several = json.loads(must("evaluate", trained_run, trained_run, image_folder, "--json").out)
    assert len(several["runs"]) == 2 and several["over_runs"]["accuracy"]["mean"] == result["accuracy"]
    refused = call("evaluate", trained_run, trained_run, image_folder, "-o", tmp_path / "two")
    assert refused.code == 2 and "-o holds the predictions of one run" in refused.line


def test_train_prints_json(image_folder, tmp_path):
    done = must("train", image_folder, "-o", tmp_path / "run", "--val", image_folder, "--json", *QUICK)
    result = json.loads(done.out)
    assert result["samples"] == 40 and result["epochs"] == 1 and 0 <= result["val_accuracy"] <= 1


def test_methods_are_listed():
    done = must("methods")
    found = json.loads(must("methods", "--json").out)
    assert {(one["kind"], one["name"]) for one in found} >= {
        ("score", "el2n"),
        ("quota", "drop"),
        ("picker", "top"),
        ("weighter", "cdb_w"),
    }
    for one in found:
        assert f"{one['kind']}  {one['name']}  ({one['title']})" in done.out.decode()
        assert one["formula"] and one["paper"]
    assert {one["kind"] for one in json.loads(must("methods", "quota", "--json").out)} == {"quota"}


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    files = [*members(labels=("[red]", "[/]ä")), ("[i].jpg", b"")]
    data = write_members(tmp_path / "data.tar", files)
    done = call("score", data, "-m", "random", "-o", tmp_path / "scored", "--max-errors", "5")
    assert done.code == 0 and "warning: [i]: empty_image (shard data.tar)" in done.err
    done = must("select", tmp_path / "scored", "--by", "random", "--keep", "3", "-o", tmp_path / "out")
    assert "[red]" in done.err and "[/]ä" in done.err


def test_the_module_is_the_command():
    done = spawn("--version")
    assert done.code == 0 and done.out.startswith(b"dprune ")
