"""Locks whose file was renamed meanwhile, and folders of commands that were killed as they replaced one."""

from __future__ import annotations

import fcntl
import os

import pytest

from dprune_cli.core.errors import UsageError
from dprune_cli.io.outputs import whole_folder
from dprune_cli.io.replace import lock, recover


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def make(folder, name):
    folder.mkdir()
    (folder / name).touch()


@pytest.mark.parametrize("remade", [False, True])
def test_a_lock_is_on_what_has_the_name_now(tmp_path, monkeypatch, remade):
    path = tmp_path / "part"
    flock = fcntl.flock
    calls = []

    def rename_first(handle, operation):
        calls.append(handle)
        if len(calls) == 1:
            # Its owner puts it into its place between our open and our lock.
            os.rename(path, tmp_path / "done")
            if remade:
                path.touch()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", rename_first)
    with lock(path, create=path.touch):
        with pytest.raises(UsageError, match="another command is writing"), lock(path, create=path.touch):
            pass
        with lock(tmp_path / "done"):
            pass
    assert len(calls) == 4


@pytest.mark.parametrize("empty", [False, True])
def test_a_folder_that_was_moved_away_comes_back(tmp_path, empty):
    make(tmp_path / ".out.old", "precious")
    if empty:
        (tmp_path / "out").mkdir()
    recover(tmp_path / "out")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["precious"]


def test_a_folder_that_was_replaced_goes(tmp_path):
    make(tmp_path / ".out.old", "old")
    make(tmp_path / "out", "new")
    recover(tmp_path / "out")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["new"]


def test_a_link_of_that_name_is_not_followed(tmp_path):
    make(tmp_path / "precious", "a")
    (tmp_path / ".out.old").symlink_to("precious")
    recover(tmp_path / "out")
    assert names(tmp_path) == [".out.old", "precious"] and names(tmp_path / "precious") == ["a"]


def test_the_next_command_puts_it_back_before_anything_else(tmp_path):
    make(tmp_path / ".out.old", "precious")
    with pytest.raises(UsageError, match="exists already"), whole_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["precious"]
