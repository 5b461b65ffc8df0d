"""What goes into a run folder; `io.run_dir` says where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dprune_cli.core import ranks
from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import UsageError
from dprune_cli.io.outputs import check_output, is_taken, part_path, whole_folder
from dprune_cli.io.remote import Place
from dprune_cli.io.run_dir import HISTORY, RESUME, TABLE, WEIGHTS, RunConfig, is_run, write_history
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable, write_table
from dprune_cli.models.weights import save_weights
from dprune_cli.stages.inputs import model_name


@contextmanager
def run_output(path: Place, *, force: bool) -> Iterator[Path]:
    """A run folder to fill, which may hold what an interrupted command left; see `whole_folder`.

    Of several processes only the first has one. The others learn where it is.
    """
    if not ranks.is_main():
        yield part_path(path)
        return
    with whole_folder(path, force=force, resume=RESUME) as folder:
        yield folder


def check_run_output(path: Place, *, force: bool) -> None:
    """Refuse a run output that exists, and even with `force` one that is a folder of something else."""
    target = check_output(path, force=force, folder=True)
    if is_taken(target) and not is_run(target):
        raise UsageError(f"{path} is no run folder, so --force does not replace it; name another")


def settings(training: TrainConfig) -> dict[str, Any]:
    """Training settings as JSON holds them."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(training).items()
    }


def describe_run(
    training: TrainConfig, data: Sequence[str], samples: Samples, image_size: int, device: torch.device
) -> RunConfig:
    """The `config.json` of a run."""
    return RunConfig(
        model=model_name(training, device),
        classes=samples.classes,
        image_size=image_size,
        groups=samples.groups,
        training=settings(training),
        data={"root": list(data), "samples": int(samples.ok().sum()), **samples.reading},
    )


def write_run(
    folder: Path, config: RunConfig, model: nn.Module, history: list[dict[str, Any]], table: ScoreTable
) -> None:
    """Fill a run folder."""
    config.write(folder)
    save_weights(model, folder / WEIGHTS)
    write_history(folder / HISTORY, history)
    write_table(table, str(folder / TABLE), force=True)
