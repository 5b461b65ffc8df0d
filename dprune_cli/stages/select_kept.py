"""What `dprune select` writes besides the table: only the kept rows are read for it, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Progress, Silent
from dprune_cli.io.arrow import empty, from_numpy
from dprune_cli.io.outputs import whole_file
from dprune_cli.io.table import ScoreTable
from dprune_cli.io.tar_plan import Shard
from dprune_cli.stages.output_contents import Describe
from dprune_cli.stages.select import Selection, SelectOutputs
from dprune_cli.stages.select_outputs import write_outputs

# What finds a sample and names it.
_COLUMNS = ("key", "label", "shard", "offset", "size")


def write_kept(
    found: Selection,
    outputs: SelectOutputs,
    *,
    progress: Progress | None = None,
    describe: Describe | None = None,
) -> list[Shard]:
    """Write the kept samples, and their keys.

    Args:
        found: which samples are kept.
        outputs: what is wanted.
        progress: told how far it is.
        describe: writes what else belongs into a folder of samples, before that takes its place.

    Returns:
        The shards that were written.

    Raises:
        DataError: the samples cannot be found, or changed since they were scored.
    """
    shards: list[Shard] = []
    if outputs.needs_data:
        kept = _load(found)
        shards = write_outputs(kept, outputs, progress=progress or Silent(), describe=describe)
    if outputs.keys is not None and ranks.is_main():
        with whole_file(outputs.keys, force=outputs.force) as part:
            _write_keys(found, part)
    return shards


def _load(found: Selection) -> ScoreTable:
    """The kept rows, in order, of the columns that are needed to find the samples."""
    table = found.table
    pieces = list(_pieces(found, [name for name in _COLUMNS if name in table]))
    return ScoreTable(pa.concat_tables(pieces).unify_dictionaries(), table.meta, table.source)


def _write_keys(found: Selection, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for piece in _pieces(found, ["key"]):
            keys = piece["key"].to_pylist()
            broken = next((key for key in keys if len(key.splitlines()) > 1), None)
            if broken is not None:
                raise DataError(f"key {broken!r}: has a line break, so a list of keys cannot hold it")
            file.writelines(f"{key}\n" for key in keys)


def _pieces(found: Selection, columns: list[str]) -> Iterator[pa.Table]:
    """The kept rows, piece by piece; an empty piece where there is none at all."""
    keep = found.keep
    yield empty(pa.schema([found.table.schema.field(name) for name in columns]))
    for rows, piece in found.table.map(lambda piece: piece, columns):
        yield piece.filter(from_numpy(keep[rows]))
