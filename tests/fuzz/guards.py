"""Guards around a case: time, memory, and where it may write."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS = 5
# What waits, or hangs in C, cannot be interrupted: the process ends with a traceback of where it is.
HANGING = 60
# Address space beyond what the process has already; allocators reserve more than they use.
MORE_SPACE = 6 << 30

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events by the positions of the paths in their arguments that are written, made or removed.
_CHANGES = {
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.rename": (0, 1),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "shutil.rmtree": (0,),
}
# Of these the last argument may be a folder that a name is relative to; it was noted when that was opened.
_RELATIVE = {"os.remove", "os.rmdir", "os.mkdir"}
_NEVER = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "pickle.find_class",
}


class _Watch:
    """What the audit hook, which can never be taken out again, looks at."""

    def __init__(self) -> None:
        self.inside: tuple[str, ...] = ()
        self.broken: list[str] = []
        self.installed = False

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.inside:
            return
        if event in _NEVER:
            self.broken.append(f"{event}{arguments}")
        elif event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            mode, flags = arguments[1], arguments[2]
            if (flags & _WRITING) if mode is None else set(mode or "") & set("wax+"):
                self._note(event, arguments[0])
        elif event in _CHANGES and not (event in _RELATIVE and arguments[-1] != -1):
            for position in _CHANGES[event]:
                self._note(event, arguments[position])

    def _note(self, event: str, path: object) -> None:
        real = os.path.realpath(os.fsdecode(path))
        if not f"{real}{os.sep}".startswith(self.inside):
            self.broken.append(f"{event} {real}")


_WATCH = _Watch()


@contextmanager
def stay_inside(folder: Path, *others: Path):
    """Fail if anything outside a folder is written, or a process, connection or pickle is opened."""
    if not _WATCH.installed:
        sys.addaudithook(_WATCH)
        _WATCH.installed = True
    # Recordings in no good order are sorted in a temporary folder, and torch has one.
    scratch = os.path.realpath(tempfile.gettempdir())
    temporary = [os.path.join(scratch, name) for name in ("dprune-", "torchinductor_")]
    allowed = [f"{os.path.realpath(path)}{os.sep}" for path in (folder, os.devnull, *others)]
    _WATCH.inside, _WATCH.broken = (*allowed, *temporary), []
    try:
        yield
    finally:
        _WATCH.inside = ()
    assert not _WATCH.broken, _WATCH.broken


@contextmanager
def deadline(seconds: float = SECONDS):
    """Fail if a case computes for longer; time in which other processes had the cores does not count."""
    running = True

    def stop(number, frame):
        if running:
            pytest.fail(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    # Again and again, because what is raised inside a callback of the garbage collector is lost.
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)
    faulthandler.dump_traceback_later(HANGING, exit=True)
    try:
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def bounded(more: int = MORE_SPACE):
    """Let allocations far beyond what the process has fail at once."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
