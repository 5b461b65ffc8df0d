"""Running `dprune` in tests: in this process where that is enough, else as a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from dprune_cli.cli.app import run

QUICK = ["--model", "tiny", "--epochs", "1", "--device", "cpu"]
DPRUNE = [sys.executable, "-m", "dprune_cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONWARNINGS": "error"}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def line(self) -> str:
        """The one line of an error; fails where there are more, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("dprune: error: "), self.err
        return lines[0].removeprefix("dprune: error: ")


class _Stream(io.TextIOWrapper):
    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", write_through=True)


def _words(arguments: tuple[object, ...]) -> list[str]:
    """The words of a command line; a string may be several of them, a path is always one."""
    return [
        word
        for argument in arguments
        for word in ((isinstance(argument, str) and argument.split()) or [str(argument)])
    ]


def call(*arguments: object, stdin: bytes = b"") -> Done:
    """Run a command in this process."""
    out, err = _Stream(), _Stream()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.stdin", _Stream(stdin)),
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
    ):
        code = run(_words(arguments))
    return Done(code, out.buffer.getvalue(), err.buffer.getvalue().decode())


def must(*arguments: object) -> Done:
    """Run a command that has to succeed."""
    done = call(*arguments)
    assert done.code == 0, done.err
    return done


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start a command as a process of its own, with Ctrl-C as a terminal would have it."""
    defaults = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": ENVIRONMENT,
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    }
    return subprocess.Popen([*DPRUNE, *_words(arguments)], **{**defaults, **options})


def spawn(*arguments: object, stdin: bytes | None = None, **options) -> Done:
    """Run a command as a process of its own."""
    if stdin is not None:
        options["stdin"] = subprocess.PIPE
    process = start(*arguments, **options)
    out, err = process.communicate(stdin, timeout=120)
    return Done(process.returncode, out or b"", (err or b"").decode())


def contents(*places: Path) -> dict[str, str]:
    """The sha256 of every file at or below some places, hidden ones too, by path."""
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file() and not path.is_symlink()
    }
