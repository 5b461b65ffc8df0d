"""The folder of unfinished work, and whose errors are whose."""

from __future__ import annotations

import pytest

from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.io.resume_dir import claim, resume_folder


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_an_error_of_the_work_is_not_one_of_its_state(tmp_path):
    with pytest.raises(FileNotFoundError), resume_folder(str(tmp_path / "t")):
        (tmp_path / "other").read_text()
    assert names(tmp_path) == []


def test_a_place_where_no_state_can_be_kept(tmp_path):
    (tmp_path / "file").touch()
    for output, taken in (("file/t", "file"), ("t", ".t.resume")):
        (tmp_path / taken).touch()
        with (
            pytest.raises(DpruneError, match=rf"^cannot write \S+/{output}: "),
            resume_folder(str(tmp_path / output)),
        ):
            pass


def test_a_claim_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(DpruneError, match=r"^cannot write \S+/none/work\.json: No such file"):
        claim(tmp_path / "none", {}, force=False)


def test_an_output_in_a_storage_is_called_what_the_user_called_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with (
        resume_folder("s3://bucket/t.parquet"),
        pytest.raises(UsageError, match=r"another command is writing s3://bucket/t\.parquet$"),
        resume_folder("s3://bucket/t.parquet"),
    ):
        pass
