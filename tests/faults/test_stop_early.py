"""Ctrl-C and SIGTERM before a command has begun, and while it does what no handler can break off."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from launcher import contents
from processes import ENVIRONMENT, finish, start, stop

STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SAY = "import os, time, hashlib; os.write(1, b'here')\n"
# One call of many minutes that lets other threads run, as a backward pass does.
LONG = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)\n"


def start_here(*words, **options):
    """Start a command and wait until it says that it has come to the place in question."""
    process = start(*words, **options)
    assert process.stdout.read(4) == b"here", process.stderr.read().decode()
    time.sleep(0.05)  # it says so before it is there
    return process


def with_module(folder, name, source):
    """The environment in which a module that dprune imports is another one."""
    (folder / f"{name}.py").write_text(source)
    return {**ENVIRONMENT, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(60)",
        "try: time.sleep(60)\nexcept BaseException: raise ImportError('half of it')",
        "try: time.sleep(60)\nexcept BaseException: time.sleep(60)",
        LONG,
    ],
    ids=["plain", "made an error of", "swallowed", "one long call"],
)
def test_while_libraries_are_imported(tmp_path, source, number, code):
    process = start_here("methods", env=with_module(tmp_path, "typer", SAY + source))
    ended, said, took = stop(process, number)
    assert (ended, said) == (code, ["dprune: interrupted"])
    assert took < 2


# What a command does with its outputs, around one call that takes so many rounds.
DRIVER = """
import hashlib, os, sys
from dprune_cli.__main__ import Stopping
from dprune_cli.io.outputs import whole_file, whole_folder
from dprune_cli.io.scratch import scratch_folder

out, rounds, resume = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or [None])[0]
Stopping().listen()
with (
    whole_folder(out + "/folder", resume=resume) as folder,
    whole_file(out + "/file") as file,
    scratch_folder() as scratch,
):
    (folder / "state").write_text("half")
    (scratch / "half").write_text("half")
    os.write(1, b"here")
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
"""
DRIVEN = [sys.executable, "-c", DRIVER]


@pytest.mark.parametrize(
    ("number", "code", "resume", "left"),
    [
        (signal.SIGINT, 130, [], []),
        (signal.SIGTERM, 143, ["state"], [".folder.part", ".folder.part/state"]),
    ],
)
def test_one_long_call_leaves_a_resumable_state_or_nothing(tmp_path, number, code, resume, left):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    environment = {**ENVIRONMENT, "TMPDIR": str(scratch)}
    process = start_here(out, 2_000_000_000, *resume, command=DRIVEN, env=environment)
    ended, said, took = stop(process, number)
    assert (ended, said) == (code, ["dprune: interrupted"])
    assert took < 2
    assert list(contents(out)) == left and contents(scratch) == {}


def test_a_second_ctrl_c_does_not_break_off_the_tidying(tmp_path):
    process = start_here(tmp_path / "out", 2_000_000, command=DRIVEN)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    finish(process)
    assert contents(tmp_path / "out") == {}


def test_a_signal_after_the_work_is_done_changes_nothing(tmp_path):
    """Python itself ends after the command, and may take a while over it."""
    late = "import os, atexit, time\natexit.register(lambda: (os.write(2, b'here'), time.sleep(0.3)))\n"
    process = start("--version", env=with_module(tmp_path, "sitecustomize", late))
    assert process.stderr.read(4) == b"here"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == b"" and out.startswith(b"dprune ")


def test_a_process_without_streams_can_be_stopped(tmp_path):
    """The pipe that wakes the watching thread must not become somebody's standard output."""
    environment = with_module(
        tmp_path, "typer", f"import hashlib; open({str(tmp_path / 'here')!r}, 'w'); {LONG}"
    )
    process = start(env=environment, stdin=None, stdout=None, stderr=None, preexec_fn=close_streams)
    deadline = time.monotonic() + 30
    while not (tmp_path / "here").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143 and time.monotonic() - sent < 2


def close_streams():
    for number in range(3):
        os.close(number)


def test_an_interruption_that_python_swallows_still_ends_the_command(tmp_path):
    source = f"""
class Slow:
    def __del__(self):
        {SAY.strip()}
        time.sleep(60)
Slow()
"""
    process = start_here("methods", env=with_module(tmp_path, "typer", source))
    ended, said, took = stop(process, signal.SIGINT)
    assert (ended, said) == (130, ["dprune: interrupted"]) and took < 0.5
