"""Running the scripts of samples/reproduce with stand-ins for `dprune` and `python` that note their calls."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).parents[2] / "samples" / "reproduce"
SCRIPTS = ["tdds", "drop", "adapruner", "scores", "samplers"]

# Makes what the command would have written, so that later steps find it.
_DPRUNE = """#!/usr/bin/env bash
printf '%q ' "$@" >>"$CALLS"; echo >>"$CALLS"
command=$1
while [ $# -gt 0 ]; do
    case $1 in
        --shards) mkdir -p "$2"; seq "$CLASSES" >"$2/classes.txt" ;;
        -o | --output | --record-trajectory)
            if [ $command = train ]; then mkdir -p "$2"; else touch "$2"; fi ;;
    esac
    shift
done
[ $command != evaluate ] || echo '{}'
"""
_PYTHON = """#!/usr/bin/env bash
[[ $1 != */correlation.py ]] || echo "$2"
case $2 in
    hardware) echo "a GPU" ;;
    known) printf '%s' "$KNOWN" ;;
    add) cat >/dev/null; printf '%q ' "${@:3}" >>"$ROWS"; echo >>"$ROWS" ;;
esac
"""


def load(name):
    """A Python file of the kit as a module."""
    spec = importlib.util.spec_from_file_location(f"reproduce_{name}", KIT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look up the annotations of their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_data(folder):
    """Empty data sets, which is enough for the stand-ins."""
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        for part in ("train", "val", "test"):
            place = folder / name / part
            place.mkdir(parents=True)
            (place / "classes.txt").write_text("".join(f"{number}\n" for number in range(classes)))
    return folder


def _calls(path):
    return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []


def rehearse(script, tmp_path, *options, known=""):
    """Run a script with the stand-ins; its `dprune` commands and the options of its rows."""
    programs = tmp_path / "programs"
    if not programs.exists():
        programs.mkdir()
        for name, text in (("dprune", _DPRUNE), ("python", _PYTHON)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        make_data(tmp_path / "data")
    calls, rows = tmp_path / "calls", tmp_path / "rows"
    calls.unlink(missing_ok=True)
    rows.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(calls),
        "ROWS": str(rows),
        "KNOWN": known,
        "CLASSES": "10",
    }
    done = subprocess.run(
        ["bash", KIT / f"{script}.sh", "--data", tmp_path / "data", "--out", tmp_path / "out", *options],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return _calls(calls), [options_of(row) for row in _calls(rows)]


def options_of(words):
    """The value of every `--option` (or `-o`) among words; the last counts."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {word.lstrip("-"): value for word, value in pairs if word.startswith("-")}
