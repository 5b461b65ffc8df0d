"""What `dprune prune` is asked for in tests: small images, a small model, few epochs."""

from __future__ import annotations

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.config import DataConfig, QueryConfig
from dprune_cli.stages.prune_job import PruneRequest
from dprune_cli.stages.prune_method import parse_method


def quick(**settings):
    return QueryConfig(**{"model": "tiny", "epochs": 1, "batch_size": 8, "device": "cpu", **settings})


def request(data, tmp_path, keep="0.5", method="drop", **options):
    """To prune some data into `tmp_path/out`."""
    options = {"query": quick(), "reading": DataConfig(image_size=8), **options}
    return PruneRequest(
        data=[str(data)],
        out=str(tmp_path / "out"),
        keep=parse_budget(keep),
        method=parse_method(method),
        **options,
    )
