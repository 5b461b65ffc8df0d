"""Run folders: what `train` and `score --save-model` write and `evaluate` reads.

RUN/model.safetensors   weights
RUN/config.json         model, classes, image size, and how it was trained
RUN/history.parquet     one row an epoch
RUN/table.parquet       the score table it was trained on, with visits, last loss and mean_loss
RUN/resume.pt           the resume state
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dprune_cli.core.errors import DataError
from dprune_cli.io.remote import Place, RemotePath, parse_place
from dprune_cli.io.remote_cache import local_file, local_parts

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
HISTORY = "history.parquet"
TABLE = "table.parquet"
RESUME = "resume.pt"
FORMAT = 1


@dataclass(frozen=True)
class RunConfig:
    """What must be known to use a trained model, and how it came about.

    Attributes:
        model: its name.
        classes, groups: names by id.
        image_size: side of the images that it takes; 0 for a model of recorded features.
        features: D, the length of the features that it takes; None for a model of images.
        training: the settings.
        data: what it was trained on.
        format: version of this file.
    """

    model: str
    classes: list[str]
    image_size: int
    features: int | None = None
    groups: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write RUN/config.json."""
        text = json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True, ensure_ascii=False, default=str)
        (folder / CONFIG).write_text(text + "\n", "utf-8")


def file_digest(place: str | Place) -> str:
    """sha256 of a file, or of all files of a folder, to notice that a run would go on from another one."""
    path = parse_place(place)
    if isinstance(path, RemotePath):
        fetched = local_parts(path, ".parquet")
        if fetched[0][1] == path.url:
            return file_digest(fetched[0][0])
        parts = [part for part, _ in fetched]
    elif path.is_dir():
        parts = sorted(part for part in path.iterdir() if part.is_file())
    else:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = "".join(f"{part.name} {file_digest(part)}\n" for part in parts)
    return hashlib.sha256(lines.encode()).hexdigest()


def is_run(path: str | Place) -> bool:
    """Whether a path is a run folder."""
    return (parse_place(path) / CONFIG).is_file()


def read_run(folder: Place) -> RunConfig:
    """The configuration of a finished run.

    Raises:
        DataError: this is no run folder, or one of another version.
    """
    if not is_run(folder) or not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder}: this is no run folder ({CONFIG} and {WEIGHTS} are expected)")
    return read_config(folder)


def read_config(folder: Place) -> RunConfig:
    """The configuration in a run folder, also of one that is not finished."""
    try:
        values = json.loads(local_file(folder / CONFIG).read_text("utf-8"))
        known = {item.name for item in dataclasses.fields(RunConfig)}
        config = RunConfig(**{name: value for name, value in values.items() if name in known})
    except (ValueError, TypeError, AttributeError, RecursionError):
        config = None
    if config is None or not _is_ours(config):
        raise DataError(f"{folder / CONFIG}: this is no run configuration")
    if config.format != FORMAT:
        raise DataError(f"{folder}: run format {config.format} is not {FORMAT}; train it again")
    return config


def _is_ours(config: RunConfig) -> bool:
    """Whether every field is of its type."""
    return (
        isinstance(config.classes, list)
        and isinstance(config.groups, list)
        and all(isinstance(name, str) for name in (config.model, *config.classes, *config.groups))
        and type(config.image_size) is int
        and (config.features is None or type(config.features) is int)
        and isinstance(config.training, dict)
        and isinstance(config.data, dict)
    )


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write RUN/history.parquet."""
    pq.write_table(history_table(rows), path)


def history_table(rows: list[dict[str, Any]]) -> pa.Table:
    """One row an epoch; see `train.loop.Fit.train` for the columns."""
    schema = pa.schema(
        [
            ("epoch", pa.int32()),
            ("seconds", pa.float64()),
            ("plan_seconds", pa.float64()),
            ("visit_seconds", pa.float64()),
            ("visited", pa.int64()),
            ("loss", pa.float64()),
            ("lr", pa.float64()),
            ("class_visited", pa.list_(pa.int64())),
            ("class_loss", pa.list_(pa.float64())),
            ("class_error", pa.list_(pa.float64())),
            ("group_visited", pa.list_(pa.int64())),
            ("group_loss", pa.list_(pa.float64())),
            ("group_error", pa.list_(pa.float64())),
            ("val_accuracy", pa.float64()),
            ("val_worst_class", pa.float64()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)
