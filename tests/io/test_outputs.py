from __future__ import annotations

import os

import pytest

from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.io.outputs import (
    check_output,
    check_stdout_is_no_terminal,
    lock,
    part_path,
    whole_file,
    whole_folder,
)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "out.txt"
    with whole_file(target) as part:
        part.write_text("half")
        assert not target.exists()
        part.write_text("whole")
    assert target.read_text() == "whole"
    assert names(target.parent) == ["out.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, BrokenPipeError])
def test_a_failed_file_leaves_nothing_and_what_was_there_stays(tmp_path, error):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(error), whole_file(target, force=True) as part:
        part.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_existing_outputs_need_force(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(UsageError, match="exists already; give --force"):
        check_output(target, force=False)
    with whole_file(target, force=True) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"):
        check_output(link, force=False)


def test_an_empty_folder_may_be_filled_and_a_full_one_not(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with whole_folder(target) as part:
        (part / "a").write_text("1")
    assert names(target) == ["a"]
    with pytest.raises(UsageError, match="exists already"), whole_folder(target):
        pass
    with whole_folder(target, force=True) as part:
        (part / "b").write_text("2")
    assert names(target) == ["b"] and names(tmp_path) == ["out"]


def test_file_and_folder_are_not_exchanged(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a folder"), whole_file(tmp_path / "folder", force=True):
        pass
    with pytest.raises(UsageError, match="is a file"), whole_folder(tmp_path / "file", force=True):
        pass


def test_a_failed_folder_leaves_nothing_and_what_was_there_stays(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(target, force=True) as part:
        (part / "a").write_text("half")
        raise RuntimeError
    assert (target / "a").read_text() == "old" and names(tmp_path) == ["out"]


def test_a_part_that_was_left_behind_is_cleared_unless_resumed(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), whole_folder(target, resume="done") as part:
        (part / "done").write_text("1")
        raise RuntimeError
    assert not target.exists()
    with pytest.raises(RuntimeError), whole_folder(target, resume="done") as part:
        assert names(part) == ["done"]
        (part / "sub").mkdir()
        raise RuntimeError
    with whole_folder(target) as part:
        assert names(part) == []
    assert names(target) == []


def test_clearing_a_part_does_not_follow_links(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "a").write_text("1")
    part = part_path(tmp_path / "out")
    part.mkdir()
    (part / "link").symlink_to(precious)
    with whole_folder(tmp_path / "out") as fresh:
        assert names(fresh) == []
    assert names(precious) == ["a"]


def test_two_commands_with_the_same_output(tmp_path):
    with whole_file(tmp_path / "out") as part:
        part.write_text("first")
        with pytest.raises(UsageError, match="another command is writing"), whole_file(tmp_path / "out"):
            pass
        assert part.read_text() == "first"
    assert (tmp_path / "out").read_text() == "first"
    with whole_folder(tmp_path / "dir") as part:
        (part / "a").write_text("1")
        with pytest.raises(UsageError, match="another command"), whole_folder(tmp_path / "dir"):
            pass
        assert names(part) == ["a"]


def test_a_lock_ends_with_its_block(tmp_path):
    for _ in range(2):
        with lock(tmp_path):
            pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DpruneError, match=r"cannot write .*file/out") as caught,
        whole_file(tmp_path / "file" / "out"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_binary_output_does_not_go_to_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="give -o FILE"):
        check_stdout_is_no_terminal("a Parquet table", "-o")


def test_relative_paths_and_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with whole_file("out.txt") as part:
        part.write_text("1")
    assert os.listdir(".") == ["out.txt"]
