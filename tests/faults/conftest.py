"""What the tests of faults share: launchers of commands, and the tables that commands start from."""

from __future__ import annotations

import pytest
from processes import Launcher

from dprune_cli.cli.app import run


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
    """Runs commands that need torch."""
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def light_launcher(tmp_path_factory):
    """Runs commands that do without torch."""
    launcher = Launcher(tmp_path_factory.mktemp("launcher"), "light")
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def tables(tmp_path_factory, image_folder, shard_folder):
    """Tables of the images as shards and as files, with a random score."""
    place = tmp_path_factory.mktemp("tables")
    for name, data in (("shards.parquet", shard_folder), ("files.parquet", image_folder)):
        words = ["score", data, "-m", "random", "--no-check", "-q", "-o", place / name]
        assert run([str(word) for word in words]) == 0
    return place
