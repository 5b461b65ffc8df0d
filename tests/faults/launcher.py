"""Starts commands of dprune by forking one process, which may have torch already: `processes.py` talks to it.

A line of JSON asks for a command, a line answers with its process id, another with how it ended. Other lines
ask for a function of this file: what is seen from here may be a small disk that others do not see.

    python launcher.py light|heavy
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

CLOCKS = ["seconds", "plan_seconds", "visit_seconds"]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


def run(request):
    """Become the command; never returns."""
    from dprune_cli.__main__ import main

    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    for number, (name, flags) in enumerate(((os.devnull, os.O_RDONLY), *request["streams"])):
        handle = os.open(name, flags, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    if request["limit"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
    if request["watched"] is not None:
        watch(*request["watched"])
    sys.argv = ["dprune", *request["words"]]
    main()


def watch(log, deadly):
    """Write down what this process changes in folders, and kill it just before the change of that number."""
    log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    number = 0

    def see(event, about):
        nonlocal number
        if event not in CHANGES:
            return
        if number == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        number += 1
        names = [os.path.basename(os.fsdecode(one)) for one in about if isinstance(one, (str, bytes, Path))]
        os.write(log, f"{time.monotonic()} {event} {' to '.join(names)}\n".encode())

    sys.addaudithook(see)


def contents(place):
    """The sha256 of every file below a folder, hidden ones too, by path; None for folders."""
    paths = sorted(Path(place).rglob("*"))
    return {path.relative_to(place).as_posix(): digest(path) if path.is_file() else None for path in paths}


def digest(path):
    """The sha256 of a file, without what a clock has to do with."""
    if path.name == "resume.pt":
        return "state"
    raw = path.read_bytes()
    if path.name == "history.parquet" and raw.endswith(b"PAR1"):
        raw = repr(pq.read_table(path).drop_columns(CLOCKS).to_pydict()).encode()
    return hashlib.sha256(raw).hexdigest()


def fill(place, room):
    """Fill a disk with a file `filler` but for so many bytes."""
    Path(place, "filler").unlink(missing_ok=True)
    state = os.statvfs(place)
    Path(place, "filler").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))


def clear(place, keep):
    """Remove all but some of what is in a folder."""
    for path in Path(place).iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


ANSWERS = {"contents": contents, "fill": fill, "clear": clear}


def serve():
    """Answer requests until there are no more."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "ask" in request:
            print(json.dumps(ANSWERS[request["ask"]](*request["about"])), flush=True)
            continue
        child = os.fork()
        if child == 0:
            run(request)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import dprune_cli.cli.app
    import dprune_cli.stages.quota
    import dprune_cli.stages.select_kept
    import dprune_cli.stages.select_outputs

    with contextlib.suppress(ImportError):
        import pandas  # noqa: F401 - Arrow imports it where it is there
    if sys.argv[1] == "heavy":
        import dprune_cli.stages.evaluate
        import dprune_cli.stages.score
        import dprune_cli.stages.train  # noqa: F401
    serve()
