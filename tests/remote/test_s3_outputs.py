"""Outputs in a bucket: whole or not at all, and never over others unless asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import call, must
from tiny_data import write_shards

from dprune_cli.core.errors import DataError, DpruneError, UsageError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.outputs import part_path, whole_file, whole_folder
from dprune_cli.io.remote_out import UNFINISHED
from dprune_cli.io.table import read_table, write_table


@pytest.fixture
def table(s3, tmp_path):
    """A table of 40 samples in two shards of the bucket."""
    url = s3.put(write_shards(tmp_path / "train"), "train")
    write_table(open_samples([url]).table(), str(tmp_path / "t.parquet"))
    s3.reset()
    return tmp_path / "t.parquet"


def left_over(tmp_path) -> list[str]:
    return [path.name for path in (tmp_path / "cache/dprune/outputs").rglob("*")]


def test_a_selection_is_written_to_urls_as_to_the_disk(s3, table, tmp_path):
    for where in ("s3://bucket/out", str(tmp_path / "out")):
        outputs = (
            f"--shards {where}/kept --folder {where}/images --keys {where}/keys.txt -o {where}/k.parquet"
        )
        must("select", table, "--by random --keep 0.4 -q", outputs)
    here = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    assert {key.removeprefix("out/") for key in s3.names("out/")} == set(here)
    assert all(s3.get(f"out/{name}") == path.read_bytes() for name, path in here.items())
    assert json.loads(s3.get("out/kept/index.json"))["shardlist"][0]["nsamples"] == 16
    assert left_over(tmp_path) == []
    assert len(open_samples(["s3://bucket/out/kept"])) == 16


def test_what_makes_a_folder_a_data_set_comes_last(s3, table):
    must(
        "select",
        table,
        "--by random --keep 0.4 -q --shards s3://bucket/kept --shard-samples 4 -o",
        table.parent / "k",
    )
    written = [
        (one.method, one.path.rpartition("/")[2]) for one in s3.requests if one.method in ("PUT", "DELETE")
    ]
    assert written[0] == ("PUT", UNFINISHED)
    assert written[-2:] == [("PUT", "index.json"), ("DELETE", UNFINISHED)]
    assert len(written) == 8


def test_an_output_that_exists_is_refused_before_any_work(s3, table):
    must("select", table, "--by random --keep 0.4 -q -o s3://bucket/k.parquet --shards s3://bucket/kept")
    before = {key: s3.get(key) for key in s3.names()}
    for outputs, name in (
        ("-o s3://bucket/k.parquet", "k.parquet"),
        ("-o s3://bucket/k2.parquet --shards s3://bucket/kept", "kept"),
        ("-o s3://bucket/k2.parquet --keys s3://bucket/k.parquet", "k.parquet"),
    ):
        done = call("select", table, "--by random --keep 0.5 -q", outputs)
        assert (done.code, done.line) == (2, f"s3://bucket/{name} exists already; give --force to replace it")
    assert {key: s3.get(key) for key in s3.names()} == before


def test_force_replaces_all_that_was_there(s3, table):
    words = "-q -o s3://bucket/k.parquet --shards s3://bucket/kept --force"
    must("select", table, "--by random --keep 1.0 --shard-samples 10", words)
    assert "kept/000003.tar" in s3.names()
    must("select", table, "--by random --keep 5", words)
    assert s3.names("kept") == ["kept/000000.tar", "kept/classes.txt", "kept/index.json"]
    assert pq.read_table(io.BytesIO(s3.get("k.parquet")))["keep"].to_pylist().count(True) == 5


def test_files_and_folders_are_told_apart(s3, table):
    with (
        pytest.raises(UsageError, match="s3://bucket/train is a folder; name a file"),
        whole_file("s3://bucket/train"),
    ):
        pass
    with (
        pytest.raises(UsageError, match="is a file; name a folder"),
        whole_folder("s3://bucket/train/000000.tar"),
    ):
        pass
    with pytest.raises(UsageError, match="is a whole storage"), whole_folder("s3://bucket"):
        pass
    with pytest.raises(UsageError, match="can only be read"), whole_file("https://host/t.parquet"):
        pass


def test_a_block_that_fails_leaves_nothing(s3, tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file("s3://bucket/x") as part:
        part.write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), whole_folder("s3://bucket/y") as part:
        (part / "a").write_text(str(1 / 0))
    assert s3.names() == [] and left_over(tmp_path) == []


def test_an_upload_that_was_interrupted_is_finished_by_the_same_command(s3, table, tmp_path):
    s3.fault = lambda request: 403 if request.method == "PUT" and "000001.tar" in request.path else None
    words = "--by random --keep 0.5 -q --shards s3://bucket/kept --shard-samples 9 -o"
    done = call("select", table, words, tmp_path / "k")
    assert done.code == 1
    assert done.line.startswith("cannot write s3://bucket/kept/000001.tar: access is refused (403)")
    kept = tmp_path / "cache/dprune/outputs" / part_path("s3://bucket/kept").name[1:].removesuffix(".part")
    assert done.line.endswith(f"what was made is kept as {kept}") and (kept / "index.json").exists()
    assert "kept/index.json" not in s3.names("kept") and f"kept/{UNFINISHED}" in s3.names("kept")
    with pytest.raises(DataError, match="was not uploaded to its end"):
        open_samples(["s3://bucket/kept"])
    s3.reset()
    must("select", table, words, tmp_path / "k")
    assert len(open_samples(["s3://bucket/kept"])) == 20


def test_a_file_that_cannot_be_uploaded_is_kept(s3, tmp_path):
    s3.fault = lambda request: 403 if request.method == "PUT" else None
    with (
        pytest.raises(DpruneError, match="what was made is kept as") as failed,
        whole_file("s3://bucket/x.txt") as part,
    ):
        part.write_text("precious")
    kept = str(failed.value).rpartition(" ")[2]
    assert Path(kept).read_text() == "precious" and left_over(tmp_path) == [kept.rpartition("/")[2]]


def test_two_commands_of_one_machine_do_not_write_the_same_url(s3):
    with whole_file("s3://bucket/x") as part:
        part.write_text("a")
        with (
            pytest.raises(UsageError, match="another command is writing s3://bucket/x"),
            whole_file("s3://bucket/x"),
        ):
            pass
    assert s3.get("x") == b"a"


def test_a_url_of_this_machine_is_a_path(tmp_path, table):
    must(
        "select",
        table,
        f"--by random --keep 0.5 -q -o file://{tmp_path}/k.parquet --keys file://{tmp_path}/keys",
    )
    assert read_table(f"file://{tmp_path}/k.parquet").meta.steps[-1]["command"] == "select"
    assert (tmp_path / "keys").read_text().count("\n") == 20


def test_quotas_may_go_to_a_url_and_come_back_from_it(s3, table, tmp_path):
    must("quota", table, "--keep 0.5 --method uniform -q --quotas s3://bucket/q.csv -o s3://bucket/q.parquet")
    must("quota", table, "--from s3://bucket/q.csv -q -o", tmp_path / "q.parquet")
    quotas = [
        read_table(where).data["quota"] for where in ("s3://bucket/q.parquet", str(tmp_path / "q.parquet"))
    ]
    assert quotas[0].equals(quotas[1])
