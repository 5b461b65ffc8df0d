"""Cards in a bucket: part of the folder that is uploaded, with the same bytes as on the disk."""

from __future__ import annotations

from commands import must
from tiny_data import write_shards

from dprune_cli.io.dataset import open_samples
from dprune_cli.io.table import write_table


def test_cards_go_with_what_they_describe(s3, tmp_path):
    url = s3.put(write_shards(tmp_path / "train"), "train")
    write_table(open_samples([url]).table(), str(tmp_path / "t.parquet"))
    for where in ("s3://bucket/out", str(tmp_path / "out")):
        outputs = f"--shards {where}/kept --folder {where}/images -o {where}/k.parquet"
        must("select", tmp_path / "t.parquet", "--by random --keep 0.4 -q --card", outputs)
    for name in ("kept/README.md", "kept/croissant.json", "kept/_info.json", "images/README.md"):
        assert s3.get(f"out/{name}") == (tmp_path / "out" / name).read_bytes()
    assert len(open_samples(["s3://bucket/out/kept"])) == len(open_samples(["s3://bucket/out/images"])) == 16
