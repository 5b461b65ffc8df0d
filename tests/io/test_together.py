"""What a command that was killed between its outputs leaves, and what becomes of it."""

from __future__ import annotations

import os
from contextlib import nullcontext

import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.io.outputs import whole_file, whole_folder
from dprune_cli.io.together import all_or_nothing, is_unfinished


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write(target, text):
    with whole_file(target) as part:
        part.write_text(text)


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A folder in which a command of the outputs a, b, and c was killed before c was in its place."""
    replace = os.replace

    def replace_until_c(source, target):
        if os.fspath(target) == str(tmp_path / "c"):
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_until_c)
        with pytest.raises(Killed), all_or_nothing():
            for name in "abc":
                write(tmp_path / name, "killed")
    assert names(tmp_path) == [".a.unfinished", ".b.unfinished", ".c.unfinished", "a", "b"]
    return tmp_path


@pytest.mark.parametrize("command", [all_or_nothing, nullcontext])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_what_one_output_took_over_is_finished(killed, command, name):
    with command():
        write(killed / name, "finished")
    assert not is_unfinished(killed / name)
    assert f".{name}.unfinished" not in names(killed)
    with pytest.raises(UsageError, match="exists already"), command():
        write(killed / name, "lost")
    assert (killed / name).read_text() == "finished"


def test_what_another_command_did_not_take_over_stays_unfinished(killed):
    write(killed / "b", "finished")
    assert is_unfinished(killed / "a") and not is_unfinished(killed / "b")


def test_one_output_that_fails_leaves_the_mark(killed):
    with pytest.raises(Killed), all_or_nothing(), whole_file(killed / "a"):
        raise Killed
    assert is_unfinished(killed / "a") and (killed / "a").read_text() == "killed"


def test_a_folder_that_was_taken_over_is_finished(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "half").touch()
    (tmp_path / ".out.unfinished").touch()
    with all_or_nothing(), whole_folder(tmp_path / "out") as part:
        (part / "whole").touch()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["whole"]


def test_the_same_outputs_again_finish_all(killed):
    with all_or_nothing():
        for name in "abc":
            write(killed / name, "finished")
    assert names(killed) == ["a", "b", "c"]
