"""The bounded cache: what it keeps, what goes, who waits; shards are in the memory of this process."""

from __future__ import annotations

import fcntl
import os
import threading

import fsspec
import pytest

from dprune_cli.core.errors import DataError
from dprune_cli.io.remote import RemotePath, download, find_info
from dprune_cli.io.remote_cache import ShardCache, cache_home, open_shard


@pytest.fixture
def store():
    """An empty storage in memory."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


def put(store, name: str, content: bytes) -> str:
    store.pipe_file(f"/{name}", content)
    return f"memory://{name}"


def read(cache: ShardCache, url: str) -> bytes:
    descriptor = cache.open(RemotePath(url, cache))
    try:
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def kept(folder) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name != "lock")


def test_a_copy_is_made_once_and_used_by_the_next_command_too(store, tmp_path, monkeypatch):
    url = put(store, "a", b"abc")
    assert read(ShardCache(100, tmp_path), url) == b"abc"
    monkeypatch.setattr("dprune_cli.io.remote_cache.download", None)
    assert read(ShardCache(100, tmp_path), url) == b"abc"


def test_an_object_that_changed_is_fetched_again(store, tmp_path):
    assert read(ShardCache(100, tmp_path), put(store, "a", b"abc")) == b"abc"
    assert read(ShardCache(100, tmp_path), put(store, "a", b"xyz")) == b"xyz"


def test_the_shard_that_was_not_used_for_longest_goes(store, tmp_path):
    cache = ShardCache(10, tmp_path)
    first, second, third = (put(store, name, name.encode() * 4) for name in "abc")
    read(cache, first)
    read(cache, second)
    read(cache, first)
    read(cache, third)
    held = [cache.open_held(RemotePath(url)) for url in (first, second, third)]
    assert [one is not None for one in held] == [True, False, True]
    assert kept(tmp_path) == 8
    for descriptor in held:
        if descriptor is not None:
            os.close(descriptor)


def test_a_shard_larger_than_the_bound_is_kept_alone(store, tmp_path):
    cache = ShardCache(10, tmp_path)
    read(cache, put(store, "a", b"a" * 4))
    assert read(cache, put(store, "b", b"b" * 30)) == b"b" * 30
    assert kept(tmp_path) == 30
    read(cache, put(store, "c", b"c" * 5))
    assert kept(tmp_path) == 5


def test_what_is_in_use_stays_and_whoever_needs_its_room_waits(store, tmp_path):
    cache = ShardCache(10, tmp_path)
    first, second = put(store, "a", b"a" * 8), put(store, "b", b"b" * 8)
    used = cache.open(RemotePath(first))
    waiting = threading.Thread(target=lambda: found.append(read(ShardCache(10, tmp_path), second)))
    found: list[bytes] = []
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and kept(tmp_path) == 8 and os.pread(used, 8, 0) == b"a" * 8
    os.close(used)
    waiting.join(10)
    assert found == [b"b" * 8] and kept(tmp_path) == 8


def test_nobody_waits_for_ever(store, tmp_path, monkeypatch):
    monkeypatch.setattr("dprune_cli.io.remote_cache._PATIENCE", 0.1)
    cache = ShardCache(10, tmp_path)
    used = cache.open(RemotePath(put(store, "a", b"a" * 8)))
    with pytest.raises(DataError, match="full of shards that other commands read; give more --remote-cache"):
        read(cache, put(store, "b", b"b" * 8))
    os.close(used)


def test_what_a_killed_command_was_fetching_is_cleared(store, tmp_path):
    cache = ShardCache(10, tmp_path)
    (tmp_path / "dead.part").write_bytes(b"x" * 9)
    with open(tmp_path / "alive.part", "wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert read(cache, put(store, "a", b"a" * 8)) == b"a" * 8
        assert (tmp_path / "alive.part").exists() and not (tmp_path / "dead.part").exists()


def test_a_part_that_is_renamed_while_room_is_made(store, tmp_path, monkeypatch):
    (tmp_path / "other.part").write_bytes(b"x" * 4)
    scan = os.scandir

    def rename_after(folder):
        entries = list(scan(folder))
        os.replace(tmp_path / "other.part", tmp_path / "other")
        return entries

    url = put(store, "a", b"abc")
    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", rename_after)
        assert read(ShardCache(100, tmp_path), url) == b"abc"
    assert (tmp_path / "other").read_bytes() == b"x" * 4 and kept(tmp_path) == 7


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (b"vwxyz", "memory://a: changed while it was read; start again"),
        (b"vwxyz and more", "memory://a: changed while it was read; start again"),
        (b"vwx", "memory://a: gave 1 bytes for bytes 2 to 4; it changed"),
        (None, "memory://a: there is no such object"),
    ],
)
def test_an_object_that_changes_after_it_was_asked_about(store, tmp_path, monkeypatch, after, why):
    monkeypatch.setattr("dprune_cli.io.remote._CHUNK", 2)
    path = RemotePath(put(store, "a", b"abcde"))
    info = find_info(path)
    with open(tmp_path / "whole", "wb") as sink:
        download(path, info, sink.fileno())
    assert (tmp_path / "whole").read_bytes() == b"abcde"
    store.rm("/a")
    if after is not None:
        put(store, "a", after)
    with open(tmp_path / "copy", "wb") as sink, pytest.raises(DataError, match=f"^{why}"):
        download(path, info, sink.fileno())


def test_a_range_is_as_long_as_it_was_asked_for(store):
    path = RemotePath(put(store, "a", b"abcde"))
    assert path.read_range(1, 5) == b"bcde" and path.read_range(2, 3) == b"c"
    for start, stop, count in ((1, 6, 4), (5, 7, 0), (0, 100, 5)):
        expected = f"^memory://a: gave {count} bytes for bytes {start} to {stop}; it changed"
        with pytest.raises(DataError, match=expected):
            path.read_range(start, stop)


def test_two_that_want_the_same_shard_fetch_it_once(store, tmp_path, monkeypatch):
    from dprune_cli.io import remote_cache

    url, calls, begun, fetch = put(store, "a", b"abc"), [], threading.Event(), remote_cache.download

    def slow(*given):
        calls.append(given)
        begun.wait(0.3)
        fetch(*given)

    monkeypatch.setattr(remote_cache, "download", slow)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(read(ShardCache(100, tmp_path), url))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [b"abc"] * 4 and len(calls) == 1


def test_the_next_shard_is_fetched_while_one_is_read(store, tmp_path):
    cache = ShardCache(100, tmp_path)
    shards = [RemotePath(put(store, name, name.encode()), cache) for name in "abc"]
    cache.expect(shards)
    os.close(open_shard(shards[0]))
    cache._ahead[1].join(10)
    held = [cache.open_held(shard) for shard in shards]
    assert [one is not None for one in held] == [True, True, False]
    os.close(held[0])
    os.close(held[1])


def test_a_shard_that_cannot_be_fetched_ahead_is_an_error_only_when_it_is_needed(store, tmp_path):
    cache = ShardCache(100, tmp_path)
    shards = [RemotePath(put(store, name, name.encode()), cache) for name in "ab"]
    cache.expect(shards)
    store.rm("/b")
    os.close(open_shard(shards[0]))
    with pytest.raises(DataError, match="memory://b: there is no such object"):
        open_shard(shards[1])
    assert kept(tmp_path) == 1


def test_a_full_disk_is_one_clear_line_and_leaves_no_part(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(Exception, match=r"cannot copy memory://a to .*: No space left on device"):
        read(ShardCache(100, tmp_path), put(store, "a", b"abc"))
    assert kept(tmp_path) == 0


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert cache_home() == tmp_path / "mine/dprune"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(Exception, match="set XDG_CACHE_HOME"):
        cache_home()
