"""Two commands at once: with the same output the second is refused, else they do not know each other."""

from __future__ import annotations

import shutil
import signal

import pytest
from large_inputs import repeat_samples
from launcher import contents
from processes import finish, start, wait_until

from dprune_cli.io.outputs import part_path

LONG = "--model tiny --device cpu --epochs 60"


def refused(first, words, sign):
    """Start a command while another is at work, which `sign` shows: it is refused, the other one finishes."""
    wait_until(sign, first)
    # Held while the second one tries, so that neither need last long.
    first.send_signal(signal.SIGSTOP)
    code, said = finish(start(*words))
    first.send_signal(signal.SIGCONT)
    assert code == 2 and len(said) == 1, said
    assert said[0].startswith("dprune: error: another command is writing ")
    code, said = finish(first)
    assert code == 0, said


@pytest.fixture(scope="module")
def many(tmp_path_factory, tables):
    return repeat_samples(tables / "files.parquet", tmp_path_factory.mktemp("many") / "table", 300)


def test_the_same_shards(tmp_path, many, tables):
    outputs = [
        "--by",
        "random",
        "--keep",
        "1.0",
        "--shards",
        tmp_path / "out",
        "-o",
        tmp_path / "table",
        "-q",
    ]
    first = start("select", many, *outputs)
    writes = part_path(tmp_path / "out").glob
    refused(first, ["select", tables / "files.parquet", *outputs], lambda: any(writes("*.tar")))
    left = contents(tmp_path)
    assert {name.split("/")[0] for name in left} == {"out", "table"}
    assert finish(start("select", many, *outputs, "--force"))[0] == 0
    assert contents(tmp_path) == left


@pytest.mark.slow
def test_the_same_run(tmp_path, image_folder):
    words = ["train", image_folder, "-o", tmp_path / "run", *LONG.split(), "-q"]
    refused(start(*words), words, (part_path(tmp_path / "run") / "resume.pt").exists)
    alone = ["train", image_folder, "-o", tmp_path / "alone", *LONG.split(), "-q"]
    assert finish(start(*alone))[0] == 0
    left = contents(tmp_path)
    for name in ("model.safetensors", "table.parquet", "history.parquet", "config.json"):
        assert left[f"run/{name}"] == left[f"alone/{name}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "run"]


@pytest.mark.slow
@pytest.mark.parametrize("same", ["table", "log"])
def test_the_same_table_or_trajectory(tmp_path, image_folder, same):
    """The second command says so at once, not after it has trained for hours itself."""

    def words(**names):
        outputs = ["-o", tmp_path / names["table"], "--record-trajectory", tmp_path / names["log"]]
        return ["score", image_folder, "-m", "aum", *outputs, *LONG.split(), "-q"]

    first = {"table": "table", "log": "log"}
    second = {"table": "other", "log": "other-log"} | {same: same}
    refused(
        start(*words(**first)),
        words(**second),
        lambda: any(path.name.startswith(".log") for path in tmp_path.iterdir()),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "table"]
    left = contents(tmp_path)
    assert finish(start(*words(table="third", log="third-log")))[0] == 0
    again = contents(tmp_path)
    assert (left["log"], left["table"]) == (again["third-log"], again["third"])


def test_different_outputs_in_one_folder(tmp_path, tables):
    both = [
        start(
            *("select", tables / "shards.parquet", "--by", "random", "--keep", 9, "-q"),
            *("--shards", tmp_path / name, "-o", tmp_path / f"{name}.parquet"),
        )
        for name in ("a", "b")
    ]
    assert [finish(process)[0] for process in both] == [0, 0]
    found = contents(tmp_path)
    assert found["a/000000.tar"] == found["b/000000.tar"] and found["a.parquet"] == found["b.parquet"]
    assert not any(name.startswith(".") for name in found)


def test_what_a_killed_command_left_is_no_lock(tmp_path, tables, light_launcher):
    words = "select TABLE --by random --keep 9 --shards out --keys keys -o table -q"
    words = words.replace("TABLE", str(tables / "shards.parquet")).split()
    assert light_launcher.run(*words, folder=tmp_path).code == 0
    expected = contents(tmp_path)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "keys").unlink()
    (tmp_path / "table").unlink()
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "000000.tar").write_text("half")
    (tmp_path / ".table.part").write_text("half")
    (tmp_path / ".keys.part").write_text("half")
    done = light_launcher.run(*words, folder=tmp_path)
    assert done.code == 0, done.err
    assert contents(tmp_path) == expected
