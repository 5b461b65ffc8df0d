"""Small data sets that many tests share; they are only read."""

from __future__ import annotations

import os

# Tensors here are so small that a second thread only costs time; read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from tiny_data import VALIDATION_SIZES, write_folder, write_shards

# pytest loads them itself; collected for doctests, they would clash, for all have the same name.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]


def pytest_collection_modifyitems(items):
    """Begin with the longest test, so that no core waits for it alone in the end."""
    items.sort(key=lambda item: "every_command_of_the_readme" not in item.name)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """40 images of 8 x 8 in four classes of 20, 12, 6 and 2."""
    return write_folder(tmp_path_factory.mktemp("folder") / "images")


@pytest.fixture(scope="session")
def validation_folder(tmp_path_factory):
    """12 other images of the same classes, none of the last."""
    return write_folder(tmp_path_factory.mktemp("folder") / "validation", VALIDATION_SIZES, seed=1)


@pytest.fixture(scope="session")
def shard_folder(tmp_path_factory):
    """The samples of `image_folder` in two shards: the same keys, labels and pixels, and a group each."""
    return write_shards(tmp_path_factory.mktemp("shards") / "images")


@pytest.fixture(scope="session")
def validation_shards(tmp_path_factory):
    """The samples of `validation_folder` in two shards, with a group each."""
    return write_shards(tmp_path_factory.mktemp("shards") / "validation", VALIDATION_SIZES, seed=1)
