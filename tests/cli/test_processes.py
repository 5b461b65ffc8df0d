"""Commands run by several processes: what does not train gives the bytes of one, and only one speaks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import ENVIRONMENT, contents, must
from many import call_together

SIZES = [2, pytest.param(4, marks=pytest.mark.slow)]
NET = ["--model", "toy_models:dropout_net", "--device", "cpu", "--epochs", "3", "--batch-size", "8"]


def relative(folder):
    """The sha256 of the files below a folder, by name."""
    return {str(Path(path).relative_to(folder)): digest for path, digest in contents(folder).items()}


def only_the_first_speaks(done):
    assert [one.code for one in done] == [0] * len(done), done
    assert not any(one.out or one.err for one in done[1:]), done
    return done[0]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, image_folder, validation_folder):
    """What one process records of a training, and the run that it keeps."""
    folder = tmp_path_factory.mktemp("recorded")
    files = {name: folder / f"{name}.parquet" for name in ("trajectory", "features", "el2n")}
    must(
        *["score", image_folder, "-m", "el2n", "--runs", "1", *NET, "--save-model", folder / "run", "-q"],
        *["--record-trajectory", files["trajectory"], "--record-features", files["features"]],
        *["-o", files["el2n"]],
    )
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_what_does_not_train_gives_equal_bytes(tmp_path, recorded, shard_folder, size):
    commands = {
        "random": ["score", shard_folder, "-m", "random", "--group-field", "place"],
        "trajectory": ["score", "-m", "aum", "-m", "tdds:window=3", "--from-trajectory"],
        "features": ["score", shard_folder, "-m", "k_center", "-m", "moderate", "--from-features"],
        "evaluate": ["evaluate", recorded / "run", shard_folder],
    }
    for name in ("trajectory", "features"):
        commands[name].append(recorded / f"{name}.parquet")
    for processes in (1, size):
        out = tmp_path / str(processes)
        out.mkdir()
        for name, command in commands.items():
            done = call_together(processes, *command, "-o", out / f"{name}.parquet")
            assert "samples" in only_the_first_speaks(done).err or name == "evaluate"
        select = ["select", out / "random.parquet", "--by", "random", "--keep", "0.7", "--shard-samples", "4"]
        places = {"--shards": "kept", "--folder": "folder", "--keys": "keys", "-o": "kept.parquet"}
        done = call_together(
            processes, *select, *(word for option, name in places.items() for word in (option, out / name))
        )
        assert "kept 28 of 40 samples" in only_the_first_speaks(done).err
    assert len(list((tmp_path / "1" / "kept").glob("*.tar"))) == 7
    assert relative(tmp_path / "1") == relative(tmp_path / str(size))


@pytest.mark.parametrize("size", SIZES)
def test_a_folder_is_packed_into_equal_shards(tmp_path, image_folder, size):
    table = tmp_path / "t.parquet"
    must("score", image_folder, "-m", "random", "-o", table, "-q")
    for processes in (1, size):
        select = ["select", table, "--by", "random", "--keep", "1.0", "--shard-samples", "7"]
        only_the_first_speaks(call_together(processes, *select, "--shards", tmp_path / str(processes), "-q"))
    assert relative(tmp_path / "1") == relative(tmp_path / str(size))


def test_what_several_processes_record_one_can_read(tmp_path, image_folder, recorded):
    files = {name: tmp_path / f"{name}.parquet" for name in ("trajectory", "features", "live")}
    command = ["score", image_folder, "-m", "aum", "-m", "moderate", "--runs", "1", *NET, "-q"]
    done = call_together(
        2,
        *[*command, "--record-trajectory", files["trajectory"]],
        *["--record-features", files["features"], "-o", files["live"]],
    )
    only_the_first_speaks(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files.values())
    assert len(list(files["trajectory"].iterdir())) == 2 * 4  # of three epochs, and the last clean pass
    assert len(list(files["features"].iterdir())) == 2
    again = tmp_path / "again.parquet"
    read = ["--from-trajectory", files["trajectory"], "--from-features", files["features"]]
    must("score", image_folder, "-m", "aum", "-m", "moderate", *read, "-o", again, "-q")
    live, computed = pq.read_table(files["live"]), pq.read_table(again)
    for column in ("aum", "moderate"):
        assert np.array_equal(live[column].to_numpy(), computed[column].to_numpy())
    must("train", "--from-features", files["features"], "--epochs", "1", "-o", tmp_path / "head", "-q")
    passes = [recorded_rows(path) for path in (recorded / "trajectory.parquet", files["trajectory"])]
    assert passes[0] == passes[1] and len(passes[0]) == 4 * 40


def recorded_rows(path):
    """Every (run, epoch, phase, key) of a trajectory, sorted."""
    table = pq.read_table(path).unify_dictionaries()
    return sorted(zip(*(table[name].to_pylist() for name in ("run", "epoch", "phase", "key")), strict=True))


def test_a_run_of_two_processes_is_one_that_others_read(tmp_path, shard_folder, validation_shards):
    run = tmp_path / "run"
    options = ["--sampler", "rcap", "--keep", "0.5", "--val", validation_shards, *NET]
    done = only_the_first_speaks(call_together(2, "train", shard_folder, "-o", run, *options))
    assert "trained on 40 samples for 3 epochs" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    must("evaluate", run, validation_shards)
    table = pq.read_table(run / "table.parquet")
    assert sum(table["visits"].to_pylist()) == 60


def test_a_broken_image_is_known_to_all_processes(tmp_path, image_folder):
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    # The last rows are those of the second process.
    (data / "dog" / "01.png").write_bytes(b"text")
    options = [*NET, "--max-errors", "1"]
    done = call_together(2, "train", data, "-o", tmp_path / "run", *options)
    assert [one.code for one in done] == [0, 0] and "trained on 39 samples" in done[0].err
    assert "decode_error" in done[0].err and not done[1].err
    table = pq.read_table(tmp_path / "run" / "table.parquet")
    assert dict(zip(table["key"].to_pylist(), table["visits"].to_pylist(), strict=True))["dog/01"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "nowhere"], 3, "nowhere: there is no such file or folder"),
        (["train", "-"], 2, "DATA cannot come from standard input with 2 processes; name a file"),
        (["train", "nowhere", "--epochs", "0"], 2, "epochs"),
        (["select", "-", "--by", "random", "--keep", "1"], 2, "the table cannot come from standard input"),
    ],
)
def test_an_error_of_all_is_said_once(tmp_path, arguments, code, said):
    output = tmp_path / ("run" if arguments[0] == "train" else "t.parquet")
    done = call_together(2, *arguments, "-o", output)
    assert [one.code for one in done] == [code, code]
    assert said in done[0].line and not done[1].err
    assert not list(tmp_path.iterdir())


def test_an_error_of_one_is_said_by_it_alone(tmp_path, image_folder):
    breaking = ["--model", "toy_breaks:net", *NET[2:]]
    done = call_together(2, "train", image_folder, "-o", tmp_path / "run", *breaking)
    assert [one.code for one in done] == [1, 1]
    assert "this rank breaks" in done[1].line and not done[0].err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path, image_folder, validation_folder):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONWARNINGS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)

    def run(*arguments):
        words = [*torchrun, "-m", "dprune_cli", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, env=environment, timeout=300)

    done = run("train", image_folder, "-o", tmp_path / "run", *NET, "--json")
    assert done.returncode == 0 and re.match(rb'\{\s+"run"', done.stdout), done
    assert done.stdout.count(b'"samples"') == 1
    piped = run("evaluate", tmp_path / "run", validation_folder, "-o", "-")
    assert piped.returncode == 0 and piped.stdout[:4] == piped.stdout[-4:] == b"PAR1"
    wrong = run("train", "nowhere", "-o", tmp_path / "other", *NET)
    assert wrong.stderr.count(b"dprune: error: nowhere: there is no such file or folder") == 1
