"""A server for all tests of this folder, and a cache of its own for each."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import mock

import pytest
from storage import running

# Helpers of the tests of the same things on disk.
sys.path += [str(Path(__file__).parents[1] / name) for name in ("cli", "io")]


@pytest.fixture(scope="session")
def server():
    """One S3 server; AWS_* of the user do not reach the tests."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    fake = {
        "AWS_ACCESS_KEY_ID": "AKIATESTKEY",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-shown",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # The retries of the library below are its own affair.
        "AWS_MAX_ATTEMPTS": "1",
    }
    with mock.patch.dict(os.environ, {**known, **fake}, clear=True), running() as storage:
        os.environ["AWS_ENDPOINT_URL"] = storage.url
        yield storage


@pytest.fixture
def s3(server, monkeypatch, tmp_path):
    """The server without faults and counts, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("dprune_cli.io.remote_retry._FIRST_WAIT", 0.001)
    server.reset()
    yield server
    server.reset()
    server.empty()
