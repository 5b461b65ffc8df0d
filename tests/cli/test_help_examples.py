"""Help pages end with examples, and all of them run."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from unittest import mock

import pytest
from commands import call, must

from dprune_cli.cli.app import run

SAMPLES = Path(__file__).parents[2] / "samples"
# In the order in which they build on one another.
COMMANDS = ["score", "evaluate", "quota", "select", "methods", "train", "prune"]
PER_COMMAND = range(2, 5)


def examples(command):
    """The command lines at the end of a help page, as a shell would take them."""
    text = must(command, "--help").out.decode()
    _, _, lines = text.partition("\nExamples:\n")
    return [line.strip() for line in lines.replace("\\\n", " ").splitlines() if line.strip()]


def run_examples(command):
    lines = examples(command)
    assert len(lines) in PER_COMMAND
    for line in lines:
        program, name, *words = shlex.split(line)
        assert (program, name) == ("dprune", command)
        assert call(name, *map(Path, words)).code == 0, line


@pytest.mark.parametrize("count", [pytest.param(7, marks=pytest.mark.slow), 5])
def test_every_example_runs(tmp_path, monkeypatch, count):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "samples").symlink_to(SAMPLES)
    for command in COMMANDS[:count]:
        run_examples(command)
    assert all((tmp_path / name).is_file() for name in ("kept/index.json", "best.txt", "quotas.csv"))


def help_at(capsys, width, *words):
    with mock.patch.dict(os.environ, {"COLUMNS": str(width)}):
        assert run([*words, "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_never_wrapped(capsys, command):
    pages = {width: help_at(capsys, width, command) for width in (40, 80, 200)}
    lines = [page[page.index("Examples:") :] for page in pages.values()]
    assert lines[0] == lines[1] == lines[2] and len(lines[0]) > 2
    assert max(map(len, lines[0])) <= 80


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_a_narrow_terminal_cuts_no_name(capsys, command):
    narrow = help_at(capsys, 40, *command)
    described = narrow[: narrow.index("Examples:")] if command else narrow
    assert max(map(len, described)) <= 44  # where a single word is longer than a line
    names = set(re.findall(r"--[a-z-]+", " ".join(help_at(capsys, 200, *command))))
    assert names <= set(re.findall(r"--[a-z-]+", " ".join(narrow)))
    assert "…" not in "".join(narrow)
