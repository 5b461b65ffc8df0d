"""Recordings in parts: several Parquet files that are written one after another and read as one.

A recording that grows for hours is written in part files, each whole when it has its name, so that a command
that stops loses only what it had not finished. One process makes a single file of them in the end; several,
each of which wrote parts of its own, leave the folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.core.leftovers import unfinished
from dprune_cli.io.outputs import check_output, explained, part_path, whole_file, whole_folder
from dprune_cli.io.parquet_errors import check_names, reading
from dprune_cli.io.remote import Place, RemotePath
from dprune_cli.io.remote_cache import local_parts
from dprune_cli.io.replace import lock
from dprune_cli.io.shared import seen_by_all

_SUFFIX = ".parquet"


class PartFiles:
    """A Parquet file, or the part files of a folder in the order of their names, as if they were one file.

    Attributes:
        schema: of the first part, with its metadata.
        rows: in all of them.
    """

    def __init__(self, path: Place) -> None:
        """Open them.

        Raises:
            DataError: there is no such file, a folder without parts, something that is no Parquet file, or
                parts of different columns.
        """
        if isinstance(path, RemotePath):
            parts = [local for local, _ in local_parts(path, _SUFFIX)]
        else:
            parts = sorted(path.glob(f"*{_SUFFIX}")) if path.is_dir() else [path]
        if not parts:
            raise DataError(f"{path}: the folder holds no {_SUFFIX} file")
        self._source = str(path)
        self._files = [_open(part) for part in parts]
        self.schema: pa.Schema = self._files[0].schema_arrow
        self.rows = sum(file.metadata.num_rows for file in self._files)
        for part, file in zip(parts, self._files, strict=True):
            if not file.schema_arrow.equals(self.schema):
                raise DataError(f"{part}: its columns are not those of {parts[0]}")

    def iter_batches(self, size: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Batches of up to `size` rows of these columns, in order."""
        for file in self._files:
            rows = 0
            with reading(self._source):
                for batch in file.iter_batches(size, columns=list(columns)):
                    batch.validate(full=True)
                    rows += len(batch)
                    yield batch
            self._check_rows(rows, file.metadata.num_rows)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """These columns of all rows."""
        with reading(self._source):
            table = pa.concat_tables([file.read(columns=list(columns)) for file in self._files])
            table.validate(full=True)
        self._check_rows(len(table), self.rows)
        return table

    def _check_rows(self, found: int, said: int) -> None:
        if found != said:
            raise DataError(f"{self._source}: says that it has {said} rows, but has {found}")


def _open(path: Path) -> pq.ParquetFile:
    with reading(str(path)):
        # Buffered ahead, all that was read of a file would stay in memory until the file is closed.
        file = pq.ParquetFile(path, pre_buffer=False)
        check_names(file.schema_arrow, str(path))
    return file


@contextmanager
def whole_part(folder: Path, name: str) -> Iterator[Path]:
    """A path to write to; it becomes the part `name` of a folder when the block ends without an error."""
    part, whole = folder / f"{name}.unfinished", folder / f"{name}{_SUFFIX}"
    with explained(whole):
        yield part
        os.replace(part, whole)


@contextmanager
def whole_recording(path: Place, *, force: bool, folder: Path | None) -> Iterator[Path]:
    """A folder for part files; when the block ends without an error they become `path`.

    Args:
        path: of the recording: a file if one process writes it, a folder if several do.
        force: replace what is there.
        folder: where the parts are, and stay for whoever goes on with them; None for a place that goes.
    """
    check_output(path, force=force, folder=ranks.size() > 1)
    with ExitStack() as stack:
        if ranks.is_main():
            # Made in any case: it is the lock by which a second command is refused before hours of work.
            passing = stack.enter_context(_passing_folder(path))
            folder = passing if folder is None else folder
            with explained(path):
                folder.mkdir(parents=True, exist_ok=True)
        folder = seen_by_all(folder)
        yield folder
        ranks.wait()
        if ranks.is_main():
            _finish(folder, path, force=force)


@contextmanager
def _passing_folder(path: Place) -> Iterator[Path]:
    """A folder beside a recording, for the duration of the block."""
    folder = part_path(path).with_suffix(".parts")

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with ExitStack() as stack:
        # Not what is done with it: that is about other files as well.
        with explained(path):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(folder, path, create=lambda: folder.mkdir(exist_ok=True)))
        stack.enter_context(unfinished(remove))
        with explained(path):
            for old in folder.iterdir():
                old.unlink()
        yield folder
        remove()


def _finish(folder: Path, path: Place, *, force: bool) -> None:
    parts = sorted(folder.glob(f"*{_SUFFIX}"))
    if ranks.size() > 1:
        with whole_folder(path, force=force, at_once=True) as whole:
            for part in parts:
                shutil.copyfile(part, whole / part.name)
        return
    with whole_file(path, force=force, at_once=True) as joined:
        if len(parts) == 1:
            shutil.copyfile(parts[0], joined)
        else:
            _join(parts, joined)


def _join(parts: Sequence[Path], target: Path) -> None:
    schema = pq.read_schema(parts[0])
    dictionaries = [item.name for item in schema if pa.types.is_dictionary(item.type)]
    with pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=dictionaries) as writer:
        for part in parts:
            with pq.ParquetFile(part, pre_buffer=False) as file:
                for number in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(number))
