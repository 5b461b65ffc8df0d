"""Recorded trajectories: the logits of every sample in every epoch, so scores are recomputed without a GPU.

A Parquet file, or a folder of such part files, with `key`, `label`, `epoch`, `logits` (C float32), one row a
sample and pass. Optional:
`phase` (`train` or `probe`; without it the same logits serve both) and `run`. Rows may come in any order:
a file ordered by pass is streamed, any other is first sorted into a temporary file on disk, so memory
stays at O(N) plus a batch, and a byte a row where the passes are mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.io.outputs import explained
from dprune_cli.io.parts import whole_part
from dprune_cli.io.remote import Place
from dprune_cli.io.scratch import scratch_folder
from dprune_cli.io.vectors import (
    check_classes,
    check_labels,
    class_ids,
    open_parquet,
    rows_by_key,
    texts,
    vector_array,
    vectors,
    whole_numbers,
)

BOTH = "both"
_BATCH = 8192
_PHASES = ("train", "probe")
_LARGEST = 2**30 - 1


@dataclass(frozen=True, order=True)
class Pass:
    """One pass over all samples: the training visits or the clean pass of an epoch of a run."""

    run: int
    epoch: int
    phase: str


Recorded = tuple[Pass, NDArray[np.int64], NDArray[np.float32]]


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


class TrajectoryParts:
    """Appends logits to part files of a folder, one a pass and process, which become whole pass by pass."""

    def __init__(self, folder: Path, classes: int) -> None:
        self._folder = folder
        self._classes = classes
        self._at: Pass | None = None
        self._open = ExitStack()

    def write(
        self, keys: Sequence[str], labels: NDArray[np.integer], at: Pass, logits: NDArray[np.float32]
    ) -> None:
        """Append n rows of one pass; the pass before it is over."""
        if at != self._at:
            self.close()
            path = self._open.enter_context(whole_part(self._folder, _part_name(at, ranks.rank())))
            with explained(path):
                self._writer = self._open.enter_context(TrajectoryWriter(path, self._classes))
            self._path = path
            self._at = at
        with explained(self._path):
            self._writer.write(keys, labels, at, logits)

    def close(self) -> None:
        """Finish the part that is being written, if any."""
        self._open.close()
        self._at = None

    def drop_after(self, run: int, epoch: int) -> None:
        """Delete the parts of a run that are of later epochs."""
        for part in self._folder.iterdir():
            numbers = part.name.split("-")
            if int(numbers[0]) == run and int(numbers[1]) > epoch:
                part.unlink()


def _part_name(at: Pass, rank: int) -> str:
    """Names sort as passes do."""
    return f"{at.run:03d}-{at.epoch:06d}-{_PHASES.index(at.phase)}-{at.phase}-{rank:04d}"


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
        self, path: Place, known: list[str] | None = None, labels: NDArray[np.int32] | None = None
    ) -> None:
        """Open a file and check that every pass holds every sample exactly once.

        Args:
            path: the Parquet file or folder.
            known: keys of the samples that can be used; None takes those of the file.
            labels: (N,) their class ids, which the file must agree with.

        Raises:
            DataError: no such file, a column missing, keys or labels that do not match, a sample that a
                pass lacks or holds twice.
        """
        self._source = str(path)
        self._file = open_parquet(path, ("key", "label", "epoch", "logits"))
        if self._file.rows == 0:
            raise DataError(f"{path}: the trajectory is empty")
        names = self._file.schema.names
        self._marks = [name for name in ("key", "epoch", "phase", "run") if name in names]
        if known is None or labels is None:
            known, labels = self._find_samples()
        self.keys, self.labels = known, labels
        self._place = {key: row for row, key in enumerate(known)}
        logits = next(self._file.iter_batches(1, ["logits"])).column(0)
        self.classes = vectors(logits, "logits", self._source).shape[1]
        self._codes, self._ordered = self._check_passes()
        self.passes = _name_passes(self._codes, self._source, has_phase="phase" in names)
        check_classes(labels, self.classes, self._source)

    @property
    def epochs(self) -> int:
        """E."""
        return max(one.epoch for one in self.passes)

    @property
    def runs(self) -> list[int]:
        """Run numbers that it holds."""
        return sorted({one.run for one in self.passes})

    def read(self, run: int) -> Iterator[Recorded]:
        """Batches of one run, pass by pass: the pass, (n,) places in `keys`, (n, C) logits."""
        if self._ordered:
            yield from self._stream(run)
            return
        with scratch_folder() as folder:
            yield from self._sorted(run, folder / "logits")

    def _find_samples(self) -> tuple[list[str], NDArray[np.int32]]:
        label: dict[str, int] = {}
        for batch in self._file.iter_batches(_BATCH, ["key", "label"]):
            keys = texts(batch["key"], "key", self._source).to_pylist()
            for key, found in zip(keys, class_ids(batch["label"], self._source), strict=True):
                label.setdefault(key, found)
        keys = sorted(label)
        return keys, np.array([label[key] for key in keys], np.int32)

    def _read_marks(self, batch: pa.RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) places in `keys` and (n,) codes of passes, which sort as passes do."""
        numbers = []
        for name in ("run", "epoch"):
            present = name in self._marks
            found = whole_numbers(batch[name], name, self._source) if present else np.zeros(len(batch), int)
            if found.min() < 0 or found.max() > _LARGEST:
                raise DataError(f"{self._source}: column {name!r} holds a number below 0 or above {_LARGEST}")
            numbers.append(found)
        phase = np.zeros(len(batch), np.int64)
        if "phase" in self._marks:
            text = texts(batch["phase"], "phase", self._source)
            index = pc.index_in(text, value_set=pa.array(_PHASES))
            if index.null_count:
                wrong = text.filter(pc.is_null(index))[0].as_py()
                raise DataError(f"{self._source}: phase {wrong!r} is neither 'train' nor 'probe'")
            phase = index.to_numpy(zero_copy_only=False)
        run, epoch = numbers
        rows = rows_by_key(texts(batch["key"], "key", self._source), self._place, self._source)
        return rows, (run * (_LARGEST + 1) + epoch) * len(_PHASES) + phase

    def _check_passes(self) -> tuple[NDArray[np.int64], bool]:
        """The codes of all passes, ascending, and whether the rows stand in that order."""
        full = np.ones(len(self.keys), bool)
        seen: dict[int, NDArray[np.bool_]] = {}
        count: Counter[int] = Counter()
        ordered, last = True, -1
        for batch in self._file.iter_batches(_BATCH, [*self._marks, "label"]):
            rows, codes = self._read_marks(batch)
            label = class_ids(batch["label"], self._source)
            check_labels(label, self.labels, self.keys, rows, self._source)
            ordered = ordered and last <= codes[0] and bool(np.all(np.diff(codes) >= 0))
            last = int(codes[-1])
            for code in np.unique(codes).tolist():
                here = np.sort(rows[codes == code])
                mask = seen.setdefault(code, np.zeros(len(full), bool))
                again = here[mask[here] | (np.diff(here, prepend=-1) == 0)]
                if len(again):
                    self._refuse(code, int(again[0]), "stands there twice")
                mask[here] = True
                count[code] += len(here)
                if count[code] == len(full):
                    # One array for all complete passes, so that only the others take memory.
                    seen[code] = full
        for code in sorted(seen):
            if seen[code] is not full:
                self._refuse(code, int(seen[code].argmin()), "has no logits")
        return np.array(sorted(seen)), ordered

    def _refuse(self, code: int, row: int, what: str) -> None:
        run, epoch, phase = _decode(code)
        phase = f"{phase}, " if "phase" in self._marks else ""
        raise DataError(f"{self._source}: key {self.keys[row]!r} {what} in epoch {epoch} ({phase}run {run})")

    def _batches(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Numbers of passes, places in `keys` and logits of rows, in the order of the file."""
        start = 0
        for batch in self._file.iter_batches(_BATCH, [*self._marks, "logits"]):
            logits = vectors(batch["logits"], "logits", self._source, start)
            if logits.shape[1] != self.classes:
                raise DataError(f"{self._source}: logits of {logits.shape[1]} and of {self.classes} classes")
            rows, codes = self._read_marks(batch)
            yield np.searchsorted(self._codes, codes), rows, logits
            start += len(logits)

    def _stream(self, run: int) -> Iterator[Recorded]:
        for number, row, logits in self._batches():
            for one in np.unique(number):
                if self.passes[one].run == run:
                    part = number == one
                    yield self.passes[one], row[part], logits[part]

    def _sorted(self, run: int, spill: Path) -> Iterator[Recorded]:
        wanted = [number for number, one in enumerate(self.passes) if one.run == run]
        place = np.full(len(self.passes), -1)
        place[wanted] = np.arange(len(wanted))
        shape = (len(wanted), len(self.keys), self.classes)
        store = np.memmap(spill, np.float32, "w+", shape=shape)
        for number, row, logits in self._batches():
            to = place[number]
            store[to[to >= 0], row[to >= 0]] = logits[to >= 0]
        rows = np.arange(len(self.keys))
        for one, stored in zip(wanted, store, strict=True):
            for start in range(0, len(rows), _BATCH):
                part = slice(start, start + _BATCH)
                yield self.passes[one], rows[part], np.array(stored[part])


def _decode(code: int) -> tuple[int, int, str]:
    """Run, epoch and phase as the file has them."""
    rest, phase = divmod(code, len(_PHASES))
    return *divmod(rest, _LARGEST + 1), _PHASES[phase]


def _name_passes(codes: NDArray[np.int64], source: str, *, has_phase: bool) -> list[Pass]:
    """The passes, with epochs numbered from 1; `DataError` where one is missing between others."""
    found = [_decode(code) for code in codes.tolist()]
    epochs = sorted({epoch for _, epoch, _ in found})
    number = {epoch: place for place, epoch in enumerate(epochs, 1)}
    missing = set(range(epochs[0], epochs[0] + len(epochs))) - set(epochs)
    if missing:
        raise DataError(
            f"{source}: there is no epoch {min(missing)} between {epochs[0]} and {epochs[-1]}; scores go by "
            "changes from each epoch to the next"
        )
    return [Pass(run, number[epoch], phase if has_phase else BOTH) for run, epoch, phase in found]
