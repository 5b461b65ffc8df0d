"""Commands as processes of their own that are stopped, killed, or run out of disk."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
DPRUNE = [sys.executable, "-m", "dprune_cli"]
_LONG = 240


def ctrl_c_as_a_terminal_has_it():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*words, command=DPRUNE, **options):
    """Start a command; its streams are pipes."""
    defaults = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": ENVIRONMENT,
        "preexec_fn": ctrl_c_as_a_terminal_has_it,
    }
    return subprocess.Popen([*command, *map(str, words)], **{**defaults, **options})


def finish(process):
    """Exit code and lines on standard error."""
    _, err = process.communicate(timeout=_LONG)
    return process.returncode, err.decode().splitlines()


def stop(process, number):
    """Send a signal: exit code, lines on standard error, seconds it took to end."""
    sent = time.monotonic()
    process.send_signal(number)
    process.wait(_LONG)
    took = time.monotonic() - sent
    return *finish(process), took


def wait_until(holds, process=None):
    """Wait for something that a process does."""
    deadline = time.monotonic() + _LONG
    while not holds():
        assert process is None or process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)


@dataclass
class Ended:
    """How a command ended: exit code (-9 when killed), standard error, seconds from start to end."""

    code: int
    err: str
    seconds: float

    @property
    def line(self):
        """The one line of an error; fails where there are more, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("dprune: error: "), self.err
        return lines[0].removeprefix("dprune: error: ")


class Launcher:
    """Runs commands that need torch, without its two seconds each; see `launcher.py`."""

    def __init__(self, scratch: Path, kind: str = "heavy", disk: tuple[Path, str] | None = None):
        """Start it.

        Args:
            scratch: where it may write.
            kind: whether it has torch.
            disk: a folder, and the size of the disk that it and its commands see there.
        """
        self._scratch = scratch
        command = [sys.executable, str(Path(__file__).with_name("launcher.py")), kind]
        if disk is not None:
            mount = f"mount -t tmpfs -o size={disk[1]} tmpfs {shlex.quote(str(disk[0]))}"
            command = ["unshare", "-rm", "sh", "-c", f"{mount} && exec {shlex.join(command)}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._server = subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipes)
        self.works = self._server.stdout.readline() != ""

    def close(self):
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()

    def ask(self, name, *about):
        """What a function of `launcher.py` says."""
        self._send(
            {"ask": name, "about": [one if isinstance(one, (int, list)) else str(one) for one in about]}
        )
        return self._answer()

    def _send(self, request):
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()

    def _answer(self):
        return json.loads(self._server.stdout.readline())

    def start(self, *words, folder, limit=None, watched=None, **environment):
        """Start a command; returns its process id.

        Args:
            words: its command line.
            folder: where it runs.
            limit: bytes that a file of it may have.
            watched: a file for what it changes in folders, and the number of the change that kills it.
            environment: more variables.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        request = {
            "words": [str(word) for word in words],
            "folder": str(folder),
            "streams": [(str(self._scratch / name), flags) for name in ("out", "err")],
            "limit": limit,
            "watched": None if watched is None else [str(watched[0]), watched[1]],
            "environment": environment,
        }
        self._send(request)
        self.began = time.monotonic()
        self._pid = self._answer()["pid"]
        return self._pid

    def end(self):
        """Wait for the command that was started."""
        code = self._answer()["code"]
        seconds = time.monotonic() - self.began
        return Ended(code, (self._scratch / "err").read_text(), seconds)

    def alive(self):
        return os.path.exists(f"/proc/{self._pid}/cmdline") and _state(self._pid) != "Z"

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def run(self, *words, **options):
        """Run a command to its end; the options are those of `start`."""
        self.start(*words, **options)
        return self.end()


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
