"""Storages other than S3: a web server, and the memory of this process."""

from __future__ import annotations

import functools
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from tiny_data import write_folder, write_shards

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data.spans import SpanReader
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.outputs import whole_file, whole_folder
from dprune_cli.io.remote import RemotePath


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server that lists folders and knows no range reads; its URL."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """An empty storage in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


@pytest.mark.parametrize("write", [write_shards, write_folder])
def test_a_folder_on_a_web_server(web, tmp_path, write):
    write(tmp_path / "data")
    there, here = open_samples([f"{web}/data"]), open_samples([str(tmp_path / "data")])
    assert there.table().data.equals(here.table().data)
    assert there.classes == here.classes
    remote, local = SpanReader(there), SpanReader(here)
    assert [remote.read(row) for row in range(4)] == [local.read(row) for row in range(4)]


def test_a_server_without_range_reads_is_told_from_one_with(web, tmp_path):
    (tmp_path / "a").write_bytes(bytes(100))
    with pytest.raises(DataError, match="changed, or its server has no range reads"):
        RemotePath(f"{web}/a").read_range(10, 20)


def test_what_a_web_server_does_not_have(web):
    with pytest.raises(DataError, match="there is no such object or folder"):
        open_samples([f"{web}/none.tar"])
    with pytest.raises(UsageError, match="can only be read"), whole_file(f"{web}/out"):
        pass


def test_data_and_outputs_in_memory(memory, tmp_path):
    for path in write_shards(tmp_path / "data").iterdir():
        memory.pipe_file(f"/bucket/data/{path.name}", path.read_bytes())
    samples = open_samples(["memory://bucket/data"])
    assert samples.table().data.equals(open_samples([str(tmp_path / "data")]).table().data)
    with whole_folder("memory://bucket/out") as part:
        (part / "deep").mkdir()
        (part / "deep/a").write_text("x")
    with pytest.raises(UsageError, match="exists already"), whole_folder("memory://bucket/out"):
        pass
    assert memory.find("/bucket/out") == ["/bucket/out/deep/a"]


def test_a_storage_that_shows_what_has_arrived_gets_a_file_under_another_name_first(memory, monkeypatch):
    monkeypatch.setattr("dprune_cli.io.remote._ATOMIC", re.compile("s3"))
    moves = []
    move = type(memory).mv
    monkeypatch.setattr(
        type(memory), "mv", lambda self, *names, **more: (moves.append(names), move(self, *names, **more))
    )
    with whole_file("memory://bucket/x") as part:
        part.write_text("whole")
    assert moves == [("/bucket/.x.part", "/bucket/x")] and memory.cat_file("/bucket/x") == b"whole"
    assert memory.find("/bucket") == ["/bucket/x"]
