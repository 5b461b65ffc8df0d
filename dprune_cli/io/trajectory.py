"""Recorded trajectories: the logits of every sample in every epoch, so scores are recomputed without a GPU.

A Parquet file with `key`, `label`, `epoch`, `logits` (C float32), one row a sample and pass. Optional:
`phase` (`train` or `probe`; without it the same logits serve both) and `run`. Rows may come in any order:
a file ordered by pass is streamed, any other is first sorted into a temporary file on disk, so memory
stays at O(N) plus a batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError
from dprune_cli.io.vectors import check_labels, open_parquet, rows_by_key, vector_array, vectors

_BATCH = 8192
BOTH = "both"


@dataclass(frozen=True, order=True)
class Pass:
    """One pass over all samples: the training visits or the clean pass of an epoch of a run."""

    run: int
    epoch: int
    phase: str


class TrajectoryWriter:
    """Appends logits to a Parquet file; a context manager."""

    def __init__(self, path: Path, classes: int) -> None:
        self.schema = pa.schema(
            [
                ("key", pa.string()),
                ("label", pa.int32()),
                ("run", pa.int32()),
                ("epoch", pa.int32()),
                ("phase", pa.dictionary(pa.int32(), pa.string())),
                ("logits", pa.list_(pa.float32(), classes)),
            ]
        )
        self._file = pq.ParquetWriter(path, self.schema, compression="zstd", use_dictionary=["phase"])
        self._pending: list[pa.Table] = []
        self._rows = 0

    def write(
        self, keys: Sequence[str], labels: NDArray[np.integer], at: Pass, logits: NDArray[np.float32]
    ) -> None:
        """Append n rows of one pass."""
        count = len(keys)
        columns = [
            pa.array(keys, pa.string()),
            pa.array(labels, pa.int32()),
            pa.array(np.full(count, at.run), pa.int32()),
            pa.array(np.full(count, at.epoch), pa.int32()),
            pa.array([at.phase] * count).dictionary_encode(),
            vector_array(logits),
        ]
        self._pending.append(pa.Table.from_arrays(columns, schema=self.schema))
        self._rows += count
        if self._rows >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._file.write_table(pa.concat_tables(self._pending).unify_dictionaries())
        self._pending, self._rows = [], 0

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._file.close()


class Trajectory:
    """A recorded trajectory, checked against the samples it is read for.

    Attributes:
        keys: the samples, in the order of `known` or, without it, sorted.
        labels: (N,) their class ids.
        classes: C, the length of the logits.
        passes: what it holds, in order; `epoch` is the number of the epoch, 1 ... E, whatever the file
            calls it.
    """

    def __init__(
        self, path: Path, known: list[str] | None = None, labels: NDArray[np.int32] | None = None
    ) -> None:
        """Open a file and check that every pass holds every sample exactly once.

        Args:
            path: the Parquet file.
            known: keys of the samples that can be used; None takes those of the file.
            labels: (N,) their class ids, which the file must agree with.

        Raises:
            DataError: no such file, a column missing, keys or labels that do not match, a sample that a
                pass lacks or holds twice.
        """
        self.path = path
        source = str(path)
        self._file = open_parquet(path, ("key", "label", "epoch", "logits"))
        names = self._file.schema_arrow.names
        small = self._file.read(
            columns=[name for name in ("key", "label", "epoch", "phase", "run") if name in names]
        )
        if small.num_rows == 0:
            raise DataError(f"{source}: the trajectory is empty")
        keys = small["key"].cast(pa.string())
        self.keys = known if known is not None else sorted(pc.unique(keys).to_pylist())
        self._row = rows_by_key(keys, self.keys, source)
        label = small["label"].cast(pa.int32()).to_numpy()
        if labels is None:
            labels = np.empty(len(self.keys), np.int32)
            labels[self._row] = label
        self.labels = labels
        check_labels(label, labels, self.keys, self._row, source)
        self._pass, self.passes = _number_passes(small)
        self._check_complete(source)
        self.classes = vectors(
            next(self._file.iter_batches(1, columns=["logits"])).column(0), "logits", source
        ).shape[1]
        if labels.max() >= self.classes or labels.min() < 0:
            raise DataError(f"{source}: label {labels.max()} does not fit {self.classes} logits")

    @property
    def epochs(self) -> int:
        """E."""
        return max(one.epoch for one in self.passes)

    @property
    def runs(self) -> list[int]:
        """Run numbers that it holds."""
        return sorted({one.run for one in self.passes})

    def _check_complete(self, source: str) -> None:
        count = len(self.keys)
        flat = self._pass.astype(np.int64) * count + self._row
        seen = np.zeros(len(self.passes) * count, bool)
        seen[flat] = True
        if seen.all() and len(flat) == len(seen):
            return
        if not seen.all():
            lost, row = divmod(int(np.flatnonzero(~seen)[0]), count)
            what = f"key {self.keys[row]!r} has no logits"
        else:
            order = np.sort(flat)
            lost, row = divmod(int(order[1:][order[1:] == order[:-1]][0]), count)
            what = f"key {self.keys[row]!r} stands there twice"
        at = self.passes[lost]
        raise DataError(f"{source}: {what} in epoch {at.epoch} ({at.phase}, run {at.run})")

    def read(self, run: int) -> Iterator[tuple[Pass, NDArray[np.int64], NDArray[np.float32]]]:
        """Batches of one run, pass by pass: the pass, (n,) places in `keys`, (n, C) logits."""
        if np.all(np.diff(self._pass) >= 0):
            yield from self._stream(run)
            return
        with tempfile.TemporaryDirectory(prefix="dprune-") as folder:
            yield from self._sorted(run, Path(folder) / "logits")

    def _batches(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        start = 0
        for batch in self._file.iter_batches(_BATCH, columns=["logits"]):
            logits = vectors(batch.column(0), "logits", str(self.path))
            if logits.shape[1] != self.classes:
                raise DataError(f"{self.path}: logits of {logits.shape[1]} and of {self.classes} classes")
            yield slice(start, start + len(logits)), logits
            start += len(logits)

    def _stream(self, run: int) -> Iterator[tuple[Pass, NDArray[np.int64], NDArray[np.float32]]]:
        for span, logits in self._batches():
            number, row = self._pass[span], self._row[span]
            for one in np.unique(number):
                if self.passes[one].run == run:
                    part = number == one
                    yield self.passes[one], row[part], logits[part]

    def _sorted(self, run: int, spill: Path) -> Iterator[tuple[Pass, NDArray[np.int64], NDArray[np.float32]]]:
        wanted = [number for number, one in enumerate(self.passes) if one.run == run]
        place = np.full(len(self.passes), -1)
        place[wanted] = np.arange(len(wanted))
        shape = (len(wanted), len(self.keys), self.classes)
        store = np.memmap(spill, np.float32, "w+", shape=shape)
        for span, logits in self._batches():
            to = place[self._pass[span]]
            store[to[to >= 0], self._row[span][to >= 0]] = logits[to >= 0]
        rows = np.arange(len(self.keys))
        for number, stored in zip(wanted, store, strict=True):
            for start in range(0, len(rows), _BATCH):
                part = slice(start, start + _BATCH)
                yield self.passes[number], rows[part], np.array(stored[part])


def _number_passes(small: pa.Table) -> tuple[NDArray[np.int64], list[Pass]]:
    """(rows,) the number of each row's pass, and the passes in order (run, epoch, train before probe)."""
    count = small.num_rows
    epoch = small["epoch"].cast(pa.int64()).to_numpy()
    run = (
        small["run"].cast(pa.int64()).to_numpy() if "run" in small.column_names else np.zeros(count, np.int64)
    )
    epoch_names, epoch = np.unique(epoch, return_inverse=True)
    run_names, run = np.unique(run, return_inverse=True)
    if "phase" in small.column_names:
        phase_names = ["train", "probe"]
        found = pc.index_in(small["phase"].cast(pa.string()), value_set=pa.array(phase_names))
        if found.null_count:
            raise DataError("column 'phase' of the trajectory may hold 'train' and 'probe' only")
        phase = np.asarray(found.combine_chunks().cast(pa.int64()))
    else:
        phase_names, phase = [BOTH], np.zeros(count, np.int64)
    code = (run * len(epoch_names) + epoch) * len(phase_names) + phase
    codes, number = np.unique(code, return_inverse=True)
    passes = []
    for value in codes.tolist():
        rest, kind = divmod(value, len(phase_names))
        at_run, at_epoch = divmod(rest, len(epoch_names))
        passes.append(Pass(int(run_names[at_run]), at_epoch + 1, phase_names[kind]))
    return number, passes
