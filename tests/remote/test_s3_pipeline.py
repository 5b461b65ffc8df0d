"""All stages on a bucket alone, with and without faults, give what they give on a disk."""

from __future__ import annotations

import pytest
from commands import must
from tiny_data import write_folder, write_shards

from dprune_cli.io.table import read_table

QUICK = "--model tiny --epochs 2 --device cpu -q"


def faults(request):
    """A 503, a dropped connection, or half an answer, for one request in seven."""
    return (503, "drop", "cut")[request.number % 3] if request.number % 7 == 3 else None


def stages(data: str, val: str, out: str) -> None:
    must("score", data, "-m el2n -m aum --runs 1", QUICK, f"-o {out}/scores.parquet --save-model {out}/query")
    must("evaluate", f"{out}/query", val, f"-q -o {out}/val.parquet")
    must(
        "quota",
        f"{out}/scores.parquet --keep 0.5 --method drop --val {out}/val.parquet -q -o {out}/quotas.parquet",
    )
    outputs = f"--shards {out}/kept --keys {out}/keys.txt -o {out}/kept.parquet"
    must("select", f"{out}/quotas.parquet --by aum -q", outputs)
    must("train", f"{out}/kept -o {out}/run", QUICK)
    must("train", data, f"--table {out}/kept.parquet -o {out}/same", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shards", "images"])
@pytest.mark.parametrize("fault", [None, faults])
def test_the_whole_pipeline_on_a_bucket(s3, tmp_path, monkeypatch, kind, fault):
    write = write_shards if kind == "shards" else write_folder
    train, val = write(tmp_path / "train"), write(tmp_path / "val", (6, 4, 2, 1), seed=1)
    there = [s3.put(train, "train"), s3.put(val, "val")]
    s3.reset()
    s3.fault = fault or s3.fault
    stages(*there, "s3://bucket/out")
    asked = len(s3.requests)
    s3.reset()
    stages(str(train), str(val), str(tmp_path / "out"))
    assert asked > 50
    here = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {f"out/{path.relative_to(tmp_path / 'out').as_posix()}" for path in here} == set(s3.names("out/"))
    for path in here:
        name = f"out/{path.relative_to(tmp_path / 'out').as_posix()}"
        if path.suffix in (".tar", ".txt", ".safetensors"):
            assert s3.get(name) == path.read_bytes(), name
        elif path.name in (
            "scores.parquet",
            "val.parquet",
            "quotas.parquet",
            "kept.parquet",
            "table.parquet",
        ):
            assert read_table(f"s3://bucket/{name}").data.equals(read_table(str(path)).data), name


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["80kB", "0"])
def test_a_cache_of_one_shard_gives_the_same_scores(s3, tmp_path, bound):
    train = write_shards(tmp_path / "train")
    url = s3.put(train, "train")
    for name, place, more in (
        ("there", url, f"--remote-cache {bound} --cache-memory 0"),
        ("here", train, ""),
    ):
        must("score", place, f"-m el2n {QUICK} {more} -o", tmp_path / f"{name}.parquet")
    there, here = (read_table(str(tmp_path / f"{name}.parquet")) for name in ("there", "here"))
    assert there.data.equals(here.data)
