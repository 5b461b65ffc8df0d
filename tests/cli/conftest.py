"""Tables that many commands start from, made by the commands themselves; they are only read."""

from __future__ import annotations

import pytest
from commands import QUICK, must


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Where the tables and the run below lie."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="session")
def shard_table(made, shard_folder):
    """`shard_folder` with a random score and groups."""
    path = made / "shards.parquet"
    must("score", shard_folder, "-m", "random", "--group-field", "place", "-o", path, "-q")
    return path


@pytest.fixture(scope="session")
def folder_table(made, image_folder):
    """`image_folder` with a random score."""
    path = made / "folder.parquet"
    must("score", image_folder, "-m", "random", "-o", path, "-q")
    return path


@pytest.fixture(scope="session")
def trained_run(made, image_folder):
    """A model trained for an epoch."""
    path = made / "run"
    must("train", image_folder, "-o", path, *QUICK, "-q")
    return path


@pytest.fixture(scope="session")
def predictions(made, trained_run, validation_folder):
    """What it predicts on `validation_folder`."""
    path = made / "validation.parquet"
    must("evaluate", trained_run, validation_folder, "-o", path, "-q")
    return path
