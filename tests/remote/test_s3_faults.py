"""Storages that fail now and then are asked again; those that refuse are not, and say so without secrets."""

from __future__ import annotations

import os

import pytest
from commands import call, must
from storage import once
from tiny_data import write_shards

from dprune_cli.core.errors import DataError, DpruneError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.outputs import whole_file
from dprune_cli.io.remote import RemotePath, find_info
from dprune_cli.io.remote_retry import TRIES, Problem, retried
from dprune_cli.io.table import write_table


@pytest.fixture
def url(s3, tmp_path):
    """A folder of two shards in the bucket."""
    found = s3.put(write_shards(tmp_path / "train"), "train")
    s3.reset()
    return found


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("/bucket", 503),
        ("/bucket", "drop"),
        ("000001.tar", 429),
        ("000001.tar", "drop"),
        ("000001.tar", "cut"),
        ("classes.txt", 503),
    ],
)
def test_a_fault_that_passes_changes_nothing(s3, url, tmp_path, fault, what):
    s3.fault = once(lambda request: request.path.rstrip("/").endswith(what), fault)
    assert open_samples([url]).table().data.equals(open_samples([str(tmp_path / "train")]).table().data)


def test_every_third_request_may_fail(s3, url, tmp_path):
    kinds = (503, "drop")
    s3.fault = lambda request: kinds[request.number % 2] if request.number % 3 == 1 else None
    samples = open_samples([url])
    write_table(samples.table(), str(tmp_path / "t"))
    must(
        "select",
        tmp_path / "t",
        "--by random --keep 0.5 -q --shards s3://bucket/kept -o s3://bucket/k.parquet",
    )
    s3.reset()
    assert len(open_samples(["s3://bucket/kept"])) == 20


@pytest.mark.parametrize(
    ("fault", "why"), [(503, "the storage answers 503"), ("cut", "the connection failed")]
)
def test_a_fault_that_lasts_is_one_line_that_names_the_object(s3, url, tmp_path, monkeypatch, fault, why):
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    s3.fault = lambda request: fault if "000001.tar" in request.path else None
    with pytest.raises(DataError, match=f"^{url}/000001.tar: {why}, also after {TRIES} tries$"):
        open_samples([url])
    s3.fault = lambda request: 503 if request.method == "PUT" else None
    with pytest.raises(DpruneError, match="the storage answers 503") as failed, whole_file("s3://bucket/t"):
        pass
    assert str(failed.value).startswith("cannot write s3://bucket/t: ")


@pytest.mark.parametrize(
    ("status", "why"), [(403, "access is refused (403)"), (404, "there is no such object")]
)
def test_what_is_refused_is_not_asked_again(s3, url, status, why):
    s3.fault = lambda request: status if "000000.tar" in request.path else None
    with pytest.raises(DataError) as failed:
        open_samples([url])
    assert str(failed.value).startswith(f"{url}/000000.tar: {why}")
    assert len(s3.fetched("000000.tar")) == 1
    s3.fault = lambda _: 403
    with (
        pytest.raises(DpruneError, match=r"cannot write s3://bucket/t: access is refused \(403\)"),
        whole_file("s3://bucket/t"),
    ):
        pass


def test_a_listing_that_fails_never_looks_like_an_empty_folder(s3, url, monkeypatch):
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    s3.fault = lambda request: 503 if request.path.rstrip("/") == "/bucket" else None
    with pytest.raises(DataError, match="the storage answers 503"):
        open_samples([url])
    with pytest.raises(DataError, match="the storage answers 503"):
        find_info(RemotePath(url))


def test_no_secret_is_printed_or_stored(s3, url, tmp_path):
    secrets = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    write_table(open_samples([url]).table(), str(tmp_path / "t.parquet"))
    words = "--by random --keep 3 --debug --shards"
    must("select", tmp_path / "t.parquet", words, "s3://bucket/kept -o", tmp_path / "k.parquet")
    s3.fault = lambda _: 403
    said = call("select", tmp_path / "t.parquet", words, tmp_path / "x", "-o", tmp_path / "y").err
    data = "--data s3://AKIATESTKEY:not-to-be-shown@bucket/train"
    said += call("select", tmp_path / "t.parquet", words, tmp_path / "x", data, "-o", tmp_path / "y").err
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode("latin-1")
    assert not any(secret in text for secret in secrets for text in (said, stored))
    assert "holds credentials" in said and "access is refused (403)" in said


def test_no_credentials_are_one_clear_line(s3, url, monkeypatch):
    from botocore.exceptions import NoCredentialsError

    def fail():
        raise NoCredentialsError

    with pytest.raises(DataError, match="there are no usable credentials for it in the environment"):
        retried(fail, RemotePath(url).cannot_read)


@pytest.mark.parametrize(
    "mistake", [TypeError, AttributeError, NameError, AssertionError, IndexError, ZeroDivisionError]
)
@pytest.mark.parametrize("tries", [0, 2])
def test_a_mistake_in_a_program_is_no_fault_of_the_storage(monkeypatch, mistake, tries):
    monkeypatch.setattr("time.sleep", lambda _: None)
    asked = []

    def fail():
        asked.append(mistake)
        if len(asked) <= tries:
            raise ConnectionResetError
        raise mistake("ours")

    with pytest.raises(mistake, match=r"^ours$"):
        retried(fail, RemotePath("s3://b/a").cannot_read)
    assert len(asked) == tries + 1


@pytest.mark.parametrize("error", [KeyError("AZURE_KEY"), ValueError("secret"), NotImplementedError("x")])
def test_what_a_library_says_of_its_storage_is_one_line(error):
    def fail():
        raise error

    with pytest.raises(DataError, match=rf"^s3://b/a: it failed \({type(error).__name__}\)$"):
        retried(fail, RemotePath("s3://b/a").cannot_read)


def test_waits_grow_and_are_spread(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)

    def fail():
        raise ConnectionResetError

    with pytest.raises(DataError, match=f"the connection failed, also after {TRIES} tries"):
        retried(fail, RemotePath("s3://b/a").cannot_read)
    assert len(waits) == TRIES - 1
    assert all(0.1 * 2**place <= wait <= 0.3 * 2**place for place, wait in enumerate(waits))


@pytest.mark.parametrize(
    ("error", "passing", "missing"),
    [
        (TimeoutError(), True, False),
        (OSError(16, "busy"), True, False),
        (FileNotFoundError("x"), False, True),
        (PermissionError("x"), False, False),
        (ValueError("secret"), False, False),
    ],
)
def test_what_passes_and_what_does_not(error, passing, missing):
    problem = Problem.of(error)
    assert (problem.passing, problem.missing) == (passing, missing)
    assert "secret" not in problem.why and problem.why


def test_a_missing_object_behind_a_dropped_connection_is_not_missing():
    error = FileNotFoundError("https://host/a")
    error.__cause__ = ConnectionResetError()
    assert Problem.of(error) == Problem("the connection failed", passing=True)
