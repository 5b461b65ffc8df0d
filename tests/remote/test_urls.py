"""What a word of the command line may be, and that nothing of a storage is loaded without a URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.io.outputs import check_distinct, inside, part_path
from dprune_cli.io.remote import RemotePath, parse_place
from dprune_cli.io.remote_url import check_url


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("s3://b/train/", RemotePath("s3://b/train")),
        ("S3://b/Train", RemotePath("s3://b/Train")),
        ("s3://b/a//c", RemotePath("s3://b/a//c")),
        ("hf://datasets/me/set@v1/train", RemotePath("hf://datasets/me/set@v1/train")),
        ("https://host:8080/a", RemotePath("https://host:8080/a")),
        ("sftp://me@host/a", RemotePath("sftp://me@host/a")),
        ("file:///a/b", Path("/a/b")),
        ("a::b", Path("a::b")),
        ("s3:/b", Path("s3:/b")),
        ("-", Path("-")),
    ],
)
def test_a_word_is_a_path_or_a_url(word, place):
    assert parse_place(word) == place


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:s3cret@b/train",
        "s3://AKIA:s3c/ret@b/train",
        "s3://AKIA:7/xyz-s3cret@b/train",
        "https://me:s3cret@host/a.tar",
        "https://s3cret@host/a.tar",
        "https://host/a.tar?X-Amz-Signature=s3cret",
        "https://host/a.tar?download=s3cret",
        "gs://b/a.tar?access_token=s3cret",
        "simplecache::https://me:s3cret@host/a.tar",
        "az://b/a.tar?sig=s3cret",
        "az://b/a.tar?sv=2024&X-Signature=s3cret",
        "s3://b/a.tar?versionId=1&client_secret=s3cret",
        "s3://b/a.tar?AWSAccessKeyId=s3cret",
        "ftp://b/a.tar?PASSWORD=s3cret",
        "gs://b/a.tar?authorization=s3cret",
        "gs://b/a.tar?X-Goog-Credential=s3cret",
        "s3://b/a.tar?Policy=s3cret",
    ],
)
def test_a_url_that_holds_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match=r"holds credentials|chains URLs") as refused:
        check_url(url)
    assert "s3c" not in str(refused.value) and "ret@" not in str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        "pipe:ls",
        "PIPE:cat x",
        "file://a/b",
        "zip://a.zip",
        "reference://x",
        "dask://x",
        "simplecache::s3://b/a",
        "git://x",
    ],
)
def test_commands_chains_and_storages_that_lead_elsewhere_are_refused(word):
    with pytest.raises(UsageError):
        check_url(word)


def test_an_unknown_storage_is_a_usage_error():
    with pytest.raises(UsageError, match="there is no storage nowhere://"):
        RemotePath("nowhere://b/a").read_bytes()


def test_a_url_without_a_part_that_its_storage_needs():
    with pytest.raises(UsageError, match="github://a/b: does not say all that a storage github:// needs"):
        RemotePath("github://a/b").read_bytes()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(DpruneError, match="gs:// needs the package gcsfs; install it"):
        RemotePath("gs://b/a").read_bytes()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DpruneError, match="s3:// needs the package fsspec"):
        RemotePath("s3://b/a").read_bytes()


def test_nothing_of_a_storage_is_loaded_without_a_url(tmp_path):
    heavy = "{'fsspec', 's3fs', 'aiohttp', 'botocore'}"
    code = (
        "import sys; from dprune_cli.cli.app import run; import dprune_cli.stages.select_outputs\n"
        "assert run('quota none.parquet --keep 1 --method uniform -o q'.split()) == 3\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_names_below_urls_and_paths(tmp_path):
    assert inside("s3://b/a/c.tar", "s3://b/a") == "c.tar"
    assert inside("s3://b/ac", "s3://b/a") is None
    assert inside("s3://b/a", tmp_path) is None
    assert inside(tmp_path / "x/y", tmp_path) == "x/y"


def test_two_outputs_at_one_url_are_refused():
    check_distinct(output="s3://b/a", shards="s3://b/ab", keys=None, folder="-")
    with pytest.raises(UsageError, match="--output and --shards name the same place"):
        check_distinct(output="s3://b/a", shards=RemotePath("s3://b/a"))


def test_every_url_has_a_place_of_its_own_to_be_built_in(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parts = {part_path(url) for url in ("s3://b/run", "s3://c/run", "gs://b/run")}
    assert len(parts) == 3 and all(part.parent == tmp_path / "dprune/outputs" for part in parts)
    assert part_path("s3://b/run/") == part_path("s3://b/run")
