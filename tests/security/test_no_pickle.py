from __future__ import annotations

import io
import shutil
import tarfile

import pytest
import torch
from bad_data import members, write_members
from commands import QUICK, call, contents, must
from forged import Touch, evil_pickle
from guards import stay_inside

from dprune_cli.io.run_dir import RESUME, WEIGHTS


@pytest.fixture
def mark(tmp_path):
    """A file that is there once a pickle has been loaded."""
    return tmp_path / "loaded"


def test_pickled_members_are_copied_and_never_loaded(tmp_path, mark):
    evil = evil_pickle(mark)
    files = []
    for number, pair in enumerate(zip(*[iter(members())] * 2, strict=True)):
        files += [
            *pair,
            *((f"k{number}.{kind}", evil) for kind in ("pkl", "pickle", "pyd", "pth", "pt", "npy")),
        ]
    shard = write_members(tmp_path / "data" / "a.tar", files)
    run, table, out = tmp_path / "run", tmp_path / "t.parquet", tmp_path / "out"
    with stay_inside(tmp_path):
        must("score", shard, "-m", "random", "-o", table)
        must("train", shard, "-o", run, *QUICK)
        must("evaluate", run, shard, "-o", tmp_path / "p.parquet")
        must(
            "select",
            table,
            "--by",
            "random",
            "--keep",
            "1.0",
            "--shards",
            out,
            "--folder",
            tmp_path / "images",
        )
    assert not mark.exists()
    with tarfile.open(out / "000000.tar") as archive:
        copied = {item.name: archive.extractfile(item).read() for item in archive}
    assert copied == dict(files)
    assert {path.suffix for path in (tmp_path / "images").rglob("*") if path.is_file()} == {".jpg"}


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.pkl", "evil.safetensors"])
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_pickled_weights_are_refused(tmp_path, mark, image_folder, name, how):
    path, run = tmp_path / name, tmp_path / "run"
    if how == "pickle":
        path.write_bytes(evil_pickle(mark))
    else:
        torch.save({"head.weight": Touch(mark)}, path)
    with stay_inside(tmp_path):
        done = call("train", image_folder, "-o", run, "--init", path, *QUICK)
    assert done.code in (2, 3) and name in done.err.splitlines()[-1]
    assert not mark.exists() and not run.exists()


def test_a_pickle_in_place_of_the_weights_of_a_run_is_refused(tmp_path, mark, image_folder):
    run = tmp_path / "run"
    must("train", image_folder, "-o", run, *QUICK)
    for content in (evil_pickle(mark), saved({"head.weight": Touch(mark)})):
        (run / WEIGHTS).write_bytes(content)
        with stay_inside(tmp_path):
            done = call("evaluate", run, image_folder)
        assert done.code == 3 and WEIGHTS in done.err.splitlines()[-1]
        assert not mark.exists() and done.out == b""


def test_a_pickle_in_place_of_a_resume_state_is_refused(tmp_path, mark, image_folder):
    run, part = tmp_path / "run", tmp_path / ".run.part"
    must("train", image_folder, "-o", run, *QUICK)
    shutil.copytree(run, part)
    shutil.rmtree(run)
    for content in (evil_pickle(mark), saved({"format": 2, "epoch": Touch(mark)})):
        (part / RESUME).write_bytes(content)
        before = contents(part)
        with stay_inside(tmp_path):
            done = call("train", image_folder, "-o", run, *QUICK)
        assert done.code == 3 and RESUME in done.err.splitlines()[-1], done.err
        assert (
            not mark.exists()
            and not run.exists()
            and contents(part)[str(part / RESUME)] == before[str(part / RESUME)]
        )


def saved(state):
    target = io.BytesIO()
    torch.save(state, target)
    return target.getvalue()
