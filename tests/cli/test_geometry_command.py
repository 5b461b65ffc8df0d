"""`evaluate --geometry` and `--tsne` as users type them."""

from __future__ import annotations

import builtins
import importlib.util
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import call, must
from many import call_together
from PIL import Image
from tiny_data import make_keys, write_folder

KEYS = make_keys()
# Two of every class but the last, of which none is kept.
KEPT = ["ant/03", "ant/11", "bee/00", "bee/07", "cat/01", "cat/02"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A selection, in another order than DATA."""
    path = tmp_path_factory.mktemp("tables") / "kept.parquet"
    keys = KEYS[::-1]
    pq.write_table(pa.table({"key": keys, "keep": [key in KEPT for key in keys]}), path)
    return path


def test_json_and_lines(trained_run, image_folder, table, tmp_path):
    words = ["evaluate", trained_run, image_folder, "--device cpu -q --geometry"]
    lines = must(*words, "--table", table).out.decode().splitlines()
    assert len(lines) == 3 and ": accuracy" in lines[0]
    assert lines[1].startswith(f"{trained_run}: geometry of all 40 samples: Dunn index 0.")
    assert lines[2].startswith(f"{trained_run}: geometry of kept 6 samples: Dunn index 0.")
    assert "adjacent centres" in lines[2] and "single linkage" in lines[2] and "radius" in lines[2]
    assert len(must(*words).out.splitlines()) == 2
    both = json.loads(must(*words, "--table", table, "--json").out)["geometry"]
    assert both.keys() == {"all", "kept"} and both["kept"]["samples"] == 6
    several = json.loads(must("evaluate", trained_run, *words[1:], "--json").out)
    assert [one["geometry"]["all"] for one in several["runs"]] == [both["all"]] * 2


def test_one_class_has_no_neighbours(trained_run, image_folder, tmp_path):
    pq.write_table(pa.table({"key": ["dog/00"], "keep": [True]}), tmp_path / "one.parquet")
    words = [
        "evaluate",
        trained_run,
        image_folder,
        "--table",
        tmp_path / "one.parquet",
        "--geometry --device cpu -q",
    ]
    line = must(*words).out.decode().splitlines()[2]
    assert line.endswith(
        "kept 1 samples: Dunn index unknown, adjacent centres unknown, single linkage unknown, radius 0"
    )
    assert json.loads(must(*words, "--json").out)["geometry"]["kept"]["dunn_index"] is None


REFUSED = [
    ("--table KEPT", 2, "--table says what is kept for --geometry and --tsne; give one of them too"),
    ("--geometry --table PLAIN", 3, "there is no column 'keep'; make it with `dprune select"),
    ("--geometry --table WORDS", 3, "column 'keep'"),
    ("--geometry --table NONE", 3, "it keeps no sample"),
    ("--geometry --table OTHER", 3, "1 of its kept samples are not in DATA, or not usable there (first 'x')"),
    ("--geometry --table TWICE", 3, "1 keys stand in it more than once (first 'ant/00')"),
    ("--geometry --table nowhere", 3, "nowhere"),
    ("--tsne TAKEN.png", 2, "TAKEN.png exists already; give --force to replace it"),
    ("--tsne new.jpg", 2, "--tsne new.jpg: write a name that ends in .png or .svg"),
    ("--tsne -", 2, "write a name that ends in .png or .svg"),
    ("--tsne new.png -o new.png", 2, "--output and --tsne name the same place, new.png"),
    ("RUN --tsne new.png", 2, "--tsne draws the embedding of one run; evaluate the runs apart"),
]


@pytest.mark.parametrize(("words", "code", "says"), REFUSED)
def test_what_is_refused(trained_run, image_folder, table, tmp_path, monkeypatch, words, code, says):
    monkeypatch.chdir(tmp_path)
    tables = {
        "PLAIN": {"key": KEYS},
        "WORDS": {"key": KEYS, "keep": ["kept"] * 40},
        "NONE": {"key": KEYS, "keep": [None, False] * 20},
        "OTHER": {"key": ["ant/00", "x", "y"], "keep": [True, True, False]},
        "TWICE": {"key": ["ant/00", "ant/00"], "keep": [True, False]},
    }
    for name, columns in tables.items():
        if name in words:
            pq.write_table(pa.table(columns), name)
    (tmp_path / "TAKEN.png").write_bytes(b"mine")
    before = sorted(tmp_path.iterdir())
    first = [trained_run, trained_run] if words.startswith("RUN") else [trained_run]
    words = words.removeprefix("RUN ").replace("KEPT", str(table))
    done = call("evaluate", *first, image_folder, words, "--device cpu -q")
    assert done.code == code and says in done.line
    assert sorted(tmp_path.iterdir()) == before


def test_pictures_need_matplotlib(trained_run, image_folder, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "dprune_cli.report.tsne_plot.find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    done = call("evaluate", trained_run, image_folder, "--tsne", tmp_path / "a.png")
    assert done.code == 2 and "--tsne needs matplotlib; pip install matplotlib" in done.line
    imported = builtins.__import__

    def refuse(name, *rest, **more):
        assert not name.startswith("matplotlib")
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    must("evaluate", trained_run, image_folder, "--geometry --device cpu -q")


def test_two_samples_are_too_few_for_a_picture(trained_run, tmp_path):
    folder = write_folder(tmp_path / "images", (1, 1, 0, 0))
    done = call("evaluate", trained_run, folder, "--tsne", tmp_path / "a.png", "--device cpu -q")
    assert done.code == 3 and "a t-SNE needs 3 samples, and 2 can be used" in done.line
    assert not (tmp_path / "a.png").exists()
    write_folder(tmp_path / "three", (2, 1, 0, 0))
    must("evaluate", trained_run, tmp_path / "three", "--tsne", tmp_path / "a.png", "--device cpu -q")
    assert (tmp_path / "a.png").exists()


def test_a_picture_beside_the_other_outputs(trained_run, image_folder, table, tmp_path):
    words = ["evaluate", trained_run, image_folder, "--table", table, "--device cpu -q --json"]
    done = must(*words, "--tsne", tmp_path / "a.png", "-o", tmp_path / "p.parquet")
    assert "geometry" not in json.loads(done.out)
    assert len(pq.read_table(tmp_path / "p.parquet")) == 40
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 1350 and 600 <= picture.size[1] <= 1400
        assert len(picture.convert("RGB").getcolors(10**6)) > 10
    must(*words, "--tsne", tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    (tmp_path / "a.png").write_bytes(b"")
    must(*words, "--tsne", tmp_path / "a.png", "--force")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(trained_run, image_folder, table, tmp_path):
    words = ["evaluate", trained_run, image_folder, "--table", table, "--geometry", "--json", "-q"]
    done = call_together(2, *words, "--device", "cpu", "--tsne", tmp_path / "two.png")
    assert [one.code for one in done] == [0, 0] and done[1].out == b""
    alone = must(*words, "--device cpu", "--tsne", tmp_path / "one.png")
    found, expected = (json.loads(one.out)["geometry"] for one in (done[0], alone))
    for name in ("all", "kept"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]
