"""What the scores of earlier commands are kept under, and what becomes of them."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from tiny_data import write_folder
from toy_prune import request
from toy_stages import Told, table_bytes

from dprune_cli.core.errors import DpruneError
from dprune_cli.io.remote import parse_place
from dprune_cli.io.resume_dir import resume_folder
from dprune_cli.io.together import all_or_nothing
from dprune_cli.stages.prune_job import QUERY, plan_job
from dprune_cli.stages.prune_store import _place, find_scores, is_known

FAR = parse_place("s3://bucket/images")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def job(image_folder, validation_folder, tmp_path):
    return plan_job(request(image_folder, tmp_path, val=[str(validation_folder)]), Told())


def other_request(job, **changes):
    return replace(job, request=replace(job.request, **changes))


def other_files(samples, tmp_path):
    """The same samples in files that were written at another time."""
    for name in samples.shards:
        copy = tmp_path / "copy" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((samples.base / name).read_bytes())
        os.utime(copy, ns=(1, 1))
    return replace(samples, base=tmp_path / "copy")


@pytest.mark.parametrize(
    "change",
    [
        lambda job, tmp_path: other_request(job, data=["other/name"]),
        lambda job, tmp_path: other_request(job, val=["other/name"]),
        lambda job, tmp_path: replace(job, validation=other_files(job.validation, tmp_path)),
        lambda job, tmp_path: replace(job, samples=other_files(job.samples, tmp_path)),
        lambda job, tmp_path: replace(job, held=np.arange(len(job.samples)) == 3),
    ],
    ids=["names of data", "names of validation data", "validation data", "data", "held out"],
)
def test_other_scores_are_of_another_place(change, job, tmp_path):
    found = _place(change(job, tmp_path))
    assert found is not None and found != _place(job)


def test_another_version_makes_other_scores(job, monkeypatch):
    place = _place(job)
    monkeypatch.setattr("dprune_cli.stages.prune_store.__version__", "999")
    assert _place(job) not in (place, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: other_request(job, data=["-"]),
        lambda job: replace(job, samples=replace(job.samples, base=FAR)),
        lambda job: replace(job, validation=replace(job.validation, base=FAR)),
    ],
    ids=["a stream", "a storage", "validation data in a storage"],
)
def test_scores_of_what_cannot_be_told_from_its_files_are_not_kept(change, job):
    assert _place(job) is not None and _place(change(job)) is None


def test_a_link_to_nothing_keeps_no_scores_from_being_known(tmp_path):
    folder = write_folder(tmp_path / "images")
    whole = _place(plan_job(request(folder, tmp_path), Told()))
    (folder / "ant" / "99.png").symlink_to(tmp_path / "nothing")
    job = plan_job(request(folder, tmp_path), Told())
    find_scores(job, Told())
    assert is_known(plan_job(request(folder, tmp_path), Told())) and _place(job) != whole


def test_scores_that_another_command_is_making_are_made_here_as_well(job):
    told = Told()
    with resume_folder(f"{_place(job)}-{QUERY}"):
        found = find_scores(job, told)
    assert "another command makes the same scores" in "".join(told.notes)
    assert not is_known(job)
    assert table_bytes(found.table) == table_bytes(find_scores(job, Told()).table)
    assert is_known(job)


def test_scores_are_kept_at_once_and_stay_whatever_becomes_of_the_output(job):
    with pytest.raises(DpruneError, match="disk"), all_or_nothing():
        found = find_scores(job, Told())
        # Another command takes them while this one still writes.
        told = Told()
        assert table_bytes(find_scores(job, told).table) == table_bytes(found.table)
        assert "scores of an earlier command" in told.notes[0] and told.passes == []
        raise DpruneError("the disk is full")
    assert is_known(job)
    assert [entry.name for entry in _place(job).parent.iterdir()] == [_place(job).name]


def test_scores_that_are_used_again_are_forgotten_after_those_that_are_not(job):
    find_scores(job, Told())
    place = _place(job)
    os.utime(place, ns=(1, 1))
    home = place.parent
    for age in range(20):
        (home / f"{age:02}").mkdir()
        os.utime(home / f"{age:02}", ns=(10**9 * (50 - age), 10**9 * (50 - age)))
    find_scores(job, Told())
    new = replace(job, settings=replace(job.settings, training=replace(job.settings.training, seed=1)))
    find_scores(new, Told())
    left = {entry.name for entry in home.iterdir()}
    assert left == {place.name, _place(new).name, *(f"{age:02}" for age in range(18))}
