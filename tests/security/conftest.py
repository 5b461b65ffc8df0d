"""Small data sets and tables of them, and helpers that the tests of commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# pytest knows of the helpers of other folders only where tests of those folders run too.
sys.path.append(str(Path(__file__).parents[1] / "cli"))
sys.path.append(str(Path(__file__).parents[1] / "fuzz"))


@pytest.fixture(scope="session")
def scored(tmp_path_factory, shard_folder, image_folder):
    """Folder with tables of the shards and of the image folder, each with a random score."""
    from commands import must

    place = tmp_path_factory.mktemp("scored")
    must("score", shard_folder, "-m", "random", "-o", place / "shards.parquet", "-q")
    must("score", image_folder, "-m", "random", "-o", place / "folder.parquet", "-q")
    return place
