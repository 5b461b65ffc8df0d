"""Pipes, terminals, full disks: with real processes, because it is the system that decides there."""

from __future__ import annotations

import os
import pty
import resource
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from commands import ENVIRONMENT, QUICK, call, contents, must, spawn, start


def read_terminal(leader):
    """Everything a process wrote to a terminal that it has left."""
    found = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # how Linux says that the other side is closed
            return found
        if not chunk:
            return found
        found += chunk


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("select TABLE --by random --keep 5", "a Parquet table would go to the terminal; give -o FILE"),
        ("quota TABLE --keep 5 --method uniform", "a Parquet table would go to the terminal; give -o FILE"),
        (
            "select TABLE --by random --keep 5 --shards -",
            "a tar stream would go to the terminal; give --shards",
        ),
        ("score IMAGES -m el2n", "a Parquet table would go to the terminal; give -o FILE"),
        ("evaluate RUN IMAGES -o -", "a Parquet table would go to the terminal; give -o FILE"),
    ],
)
def test_a_terminal_gets_no_binary(shard_table, image_folder, trained_run, words, said):
    for name, path in {"TABLE": shard_table, "IMAGES": image_folder, "RUN": trained_run}.items():
        words = words.replace(name, str(path))
    leader, terminal = pty.openpty()
    process = start(*words.split(), stdout=terminal)
    os.close(terminal)
    _, err = process.communicate(timeout=60)
    shown = read_terminal(leader)
    os.close(leader)
    assert process.returncode == 2 and said in err.decode() and len(err.splitlines()) == 1
    assert shown == b""


def test_a_terminal_gets_no_table_that_nobody_asked_for(shard_table, tmp_path):
    leader, terminal = pty.openpty()
    options = ["--by", "random", "--keep", "5", "--keys", tmp_path / "keys"]
    process = start("select", shard_table, *options, stdout=terminal)
    os.close(terminal)
    assert process.wait(60) == 0
    shown = read_terminal(leader)
    os.close(leader)
    process.stderr.close()
    assert shown == b"" and len((tmp_path / "keys").read_text().splitlines()) == 5


def test_colour_only_on_a_terminal_that_wants_it(shard_table, tmp_path):
    shown = {}
    for name, more in {"colour": {}, "plain": {"NO_COLOR": "1"}}.items():
        leader, terminal = pty.openpty()
        options = ["--by", "random", "--keep", "1", "-o", tmp_path / name]
        environment = {**ENVIRONMENT, "TERM": "xterm", **more}
        environment.pop("NO_COLOR" if name == "colour" else "", None)
        process = start("select", shard_table, *options, stderr=terminal, env=environment)
        os.close(terminal)
        process.communicate(timeout=60)
        shown[name] = read_terminal(leader).decode()
        os.close(leader)
        assert process.returncode == 0 and "warning: nothing is kept of class" in shown[name]
    assert "\x1b[33m" in shown["colour"] and "\x1b[33m" not in shown["plain"]
    piped = must("select", shard_table, "--by", "random", "--keep", "1", "-o", tmp_path / "piped")
    assert "\x1b" not in piped.err


def close_early(*words):
    """Exit code and messages of a command whose reader takes one byte and goes."""
    process = start(*words)
    assert len(process.stdout.read(1)) == 1
    process.stdout.close()
    said, code = process.stderr.read(), process.wait(60)
    process.stderr.close()
    return code, said.decode()


def test_a_closed_pipe_ends_quietly(tmp_path, shard_folder):
    shard = (shard_folder / "000000.tar").read_bytes()
    for number in range(8):  # together more than a pipe holds
        (tmp_path / f"{number}.tar").write_bytes(shard.replace(b"/0", b"/%d" % number))
    must("score", tmp_path, "-m", "random", "-o", tmp_path / "table", "--max-errors", "200", "-q")
    options = ["select", tmp_path / "table", "--by", "random", "--keep", "1.0", "-q"]
    for words in (options, [*options, "--shards", "-"], ["methods"]):
        assert close_early(*words) == (0, "")


def test_a_full_disk_behind_standard_output(shard_table):
    options = ["select", shard_table, "--by", "random", "--keep", "9", "-q"]
    with open("/dev/full", "wb") as full:
        for words in (options, [*options, "--shards", "-"], [*options, "--json"]):
            done = spawn(*words, stdout=full)
            assert done.code == 1
            assert done.line == "cannot write to standard output: No space left on device"


def small_disk(limit):
    """Let a process write files of so many bytes at most, as if the disk were full then."""

    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return prepare


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("select TABLE --by random --keep 30 -o TMP/out", "out"),
        ("select TABLE --by random --keep 30 --shards TMP/out -o TMP/other", "out"),
        ("select TABLE --by random --keep 30 --folder TMP/out -o TMP/other", "out"),
        ("quota TABLE --keep 30 --method uniform -o TMP/out", "out"),
    ],
)
def test_a_full_disk(shard_table, tmp_path, words, target):
    line = words.replace("TABLE", str(shard_table)).replace("TMP", str(tmp_path)).split()
    (tmp_path / "mine").write_text("mine")
    before = contents(tmp_path)
    limit = 100 if "--folder" in words else 600
    done = spawn(*line, "-q", preexec_fn=small_disk(limit))
    assert done.code == 1
    assert done.line == f"cannot write {tmp_path}/{target}: File too large"
    assert contents(tmp_path) == before
    assert spawn(*line, "-q").code == 0
    assert (tmp_path / target).exists()


@pytest.mark.slow
def test_a_full_disk_while_training(image_folder, trained_run, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    for words in (
        ["score", image_folder, "-m", "random", "-o", other, "--save-model", out, *QUICK],
        ["train", image_folder, "-o", out, *QUICK],
        ["evaluate", trained_run, image_folder, "-o", out],
    ):
        done = spawn(*words, "-q", preexec_fn=small_disk(600))
        assert done.code == 1, words
        assert done.line.startswith("cannot write ") and "File too large" in done.line
        assert not out.exists() and not other.exists()
        assert spawn(*words, "-q").code == 0, words
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        other.unlink(missing_ok=True)


@pytest.mark.slow
def test_a_full_disk_while_standard_input_is_kept(shard_folder, tmp_path):
    stream = (shard_folder / "000000.tar").read_bytes()
    words = ["score", "-", "-m", "random", "--spool", tmp_path / "spool", "-o", tmp_path / "out", "-q"]
    done = spawn(*words, stdin=stream, preexec_fn=small_disk(len(stream) - 1))
    assert done.code == 1 and "stdin.tar: File too large" in done.line
    assert contents(tmp_path) == {}
    assert spawn(*words, stdin=stream).code == 0


def test_standard_streams_that_are_closed(shard_table, tmp_path):
    line = (
        f"{sys.executable} -m dprune_cli select {shard_table} --by random --keep 9 -o {tmp_path}/out --force"
    )
    for closed in ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(f"{line} {closed}", shell=True, env=ENVIRONMENT, timeout=60)
        assert done.returncode == 0
        assert pq.read_table(tmp_path / "out").num_rows == 40


def test_an_empty_pipe(tmp_path):
    for words in (
        ["select", "-", "--by", "random", "--keep", "3"],
        ["quota", "-", "--keep", "3", "-m", "uniform"],
    ):
        done = call(*words, "-o", tmp_path / "out")
        assert done.code == 3
        assert done.line == "standard input is empty; did the command before the pipe fail?"


CHAIN = """
set -o pipefail
dprune score train/ -m el2n --runs 1 $quick | dprune quota - --keep 0.5 --method drop:missing_class=mean \
  --val val.parquet | dprune select - --by random --shards - | dprune train - -o run/ $quick
"""


@pytest.mark.slow
def test_the_stages_chain_in_a_shell(image_folder, predictions, tmp_path):
    (tmp_path / "train").symlink_to(image_folder)
    (tmp_path / "val.parquet").symlink_to(predictions)
    script = f"dprune() {{ {sys.executable} -m dprune_cli \"$@\"; }}\nquick='{' '.join(QUICK)}'\n{CHAIN}"
    options = {"env": ENVIRONMENT, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 240}
    done = subprocess.run(["bash", "-c", script], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "trained on 20 samples for 1 epochs" in done.stderr
    run = tmp_path / "run"
    assert pq.read_table(run / "table.parquet")["visits"].to_pylist() == [1] * 20
    failing = script.replace("-m el2n", "-m el2nn")
    done = subprocess.run(["bash", "-c", failing.replace("run/", "other/")], **options)
    lines = [line for line in done.stderr.splitlines() if line.startswith("dprune: error: ")]
    assert done.returncode == 3 and lines[0] == "dprune: error: there is no score called 'el2nn'; try el2n"
    assert all("standard input is empty" in line for line in lines[1:]) and len(lines) == 4
    assert not (tmp_path / "other").exists() and "Traceback" not in done.stderr
