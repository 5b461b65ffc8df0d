from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from commands import call, contents, must


def step(path):
    return json.loads(pq.read_schema(path).metadata[b"dprune"])["steps"][-1]["options"]


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


def test_a_recipe_sets_options_and_flags_win(recipe, image_folder, tmp_path):
    path = recipe('method = ["random", "entropy"]\nmodel = "tiny"\nepochs = 2\nseed = 7\nmax-errors = "3"\n')
    must("score", image_folder, "--recipe", path, "-o", tmp_path / "out", "--seed", "8")
    options = step(tmp_path / "out")
    assert options["methods"] == ["random", "entropy"] and options["epochs"] == 2 and options["seed"] == 8
    must("score", image_folder, "-m", "random", "--recipe", path, "-o", tmp_path / "other")
    assert step(tmp_path / "other")["methods"] == ["random"] and step(tmp_path / "other")["seed"] == 7
    path = recipe('model = "tiny"\nepochs = 3\nlr = 1\nnesterov = false\nlabel_smoothing = 0.1\n')
    must("train", image_folder, "--recipe", path, "-o", tmp_path / "run", "--epochs", "1")
    training = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert (training["epochs"], training["lr"], training["nesterov"]) == (1, 1.0, False)
    assert training["label_smoothing"] == 0.1


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("epohcs = 3", 2, "epohcs"),
        ("[training]\nepochs = 3", 2, "training"),
        ('epochs = "many"', 2, "epochs"),
        ("epochs = 1.5", 2, "epochs"),
        ("epochs = [3]", 2, "epochs"),
        ('schedule = "linear"', 2, "schedule"),
        ("lr = true", 2, "lr"),
        ("nesterov = 3", 2, "nesterov"),
        ('method = "random"', 2, "method"),
        ("epochs = 0", 2, "--epochs 0: it must be positive"),
        ("epochs 3", 3, "this is no TOML"),
        ("epochs = 3\nepochs = 4", 3, "this is no TOML"),
        ("\0", 3, "this is no TOML"),
    ],
)
def test_a_recipe_with_a_mistake(recipe, image_folder, tmp_path, text, code, said):
    path = recipe(text)
    before = contents(tmp_path)
    method = [] if "method" in text else ["-m", "random"]
    done = call("score", image_folder, *method, "--recipe", path, "-o", tmp_path / "out")
    assert done.code == code, done.err
    assert said in done.line
    assert contents(tmp_path) == before


def test_no_recipe(image_folder, tmp_path):
    for path in (tmp_path / "nothing.toml", tmp_path):
        done = call("score", image_folder, "-m", "random", "--recipe", path, "-o", tmp_path / "out")
        assert done.code == 3 and f"{path}: " in done.line
