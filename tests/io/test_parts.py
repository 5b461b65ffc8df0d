"""Part files of recordings, and whose errors are whose."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from recordings import CLASSES, KEYS, LABELS, make_logits

from dprune_cli.core import ranks
from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.io.parts import whole_part, whole_recording
from dprune_cli.io.trajectory import Pass, Trajectory, TrajectoryParts


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_parts_of_later_epochs_of_a_run_go(tmp_path):
    left = ["000-000001-0-train-0000.parquet", "000-000002-0-train-0001.parquet"]
    other_run = ["001-000003-0-train-0000.parquet", "010-000009-0-train-0001.parquet"]
    later = [
        *("000-000003-0-train-0000.parquet", "000-000003-0-train-0001.parquet"),
        *("000-000003-1-probe-0001.parquet", "000-000010-0-train-0000.unfinished"),
    ]
    for name in (*left, *other_run, *later):
        (tmp_path / name).touch()
    TrajectoryParts(tmp_path, CLASSES).drop_after(0, 2)
    assert names(tmp_path) == [*left, *other_run]
    TrajectoryParts(tmp_path, CLASSES).drop_after(1, 0)
    assert names(tmp_path) == [*left, other_run[1]]


def test_one_process_goes_on_from_what_two_recorded(tmp_path, monkeypatch):
    logits = make_logits(2)
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        parts = TrajectoryParts(tmp_path, CLASSES)
        own = slice(rank, None, 2)
        for epoch in (1, 2):
            parts.write(KEYS[own], LABELS[own], Pass(0, epoch, "train"), logits[epoch - 1, own])
        parts.close()
    assert len(names(tmp_path)) == 4
    monkeypatch.setattr(ranks, "rank", lambda: 0)
    parts = TrajectoryParts(tmp_path, CLASSES)
    parts.drop_after(0, 1)
    parts.write(KEYS, LABELS, Pass(0, 2, "train"), logits[1])
    parts.close()
    recorded = Trajectory(tmp_path, KEYS, LABELS)
    assert [at.epoch for at in recorded.passes] == [1, 2]
    found = np.zeros_like(logits)
    for at, places, values in recorded.read(0):
        found[at.epoch - 1, places] = values
    assert np.array_equal(found, logits)


def test_an_error_of_the_work_is_not_one_of_its_recording(tmp_path):
    with pytest.raises(FileNotFoundError), whole_recording(tmp_path / "log", force=False, folder=None):
        (tmp_path / "other").read_text()
    assert names(tmp_path) == []


def test_a_recording_beside_which_nothing_can_be_made(tmp_path):
    (tmp_path / ".log.parts").touch()
    said = r"^cannot write \S+/log: "
    with pytest.raises(DpruneError, match=said), whole_recording(tmp_path / "log", force=False, folder=None):
        pass


def test_two_commands_with_the_same_recording(tmp_path):
    with (
        whole_recording(tmp_path / "log", force=False, folder=None) as folder,
        pytest.raises(UsageError, match=r"another command is writing \S+/log$"),
    ):
        (folder / "000.parquet").touch()
        with whole_recording(tmp_path / "log", force=False, folder=None):
            pass


def test_a_part_that_cannot_be_written_is_one_line(tmp_path):
    said = r"^cannot write \S+/0001\.parquet: No space left on device$"
    with pytest.raises(DpruneError, match=said), whole_part(tmp_path, "0001"):
        raise OSError(errno.ENOSPC, "full")
    parts = TrajectoryParts(tmp_path / "none", CLASSES)
    with pytest.raises(DpruneError, match=r"^cannot write \S+/none/000-000001-\S+: No such file"):
        parts.write(KEYS, LABELS, Pass(0, 1, "train"), make_logits(1)[0])
