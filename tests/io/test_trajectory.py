from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import CLASSES, KEYS, LABELS, make_columns, make_logits, permute, write

from dprune_cli.core.errors import DataError
from dprune_cli.io import trajectory as trajectory_module
from dprune_cli.io.trajectory import BOTH, Pass, Trajectory, TrajectoryWriter


def read_all(trajectory, run=0):
    """Passes in order, and (passes, N, C) logits; NaN where nothing was given."""
    order, found = [], {}
    for at, rows, logits in trajectory.read(run):
        if at not in found:
            order.append(at)
            found[at] = np.full((len(trajectory.keys), trajectory.classes), np.nan, np.float32)
        assert np.isnan(found[at][rows]).all() and len(np.unique(rows)) == len(rows)
        found[at][rows] = logits
    return order, np.array([found[at] for at in order])


def by_sorted_key(logits):
    return logits[:, np.argsort(KEYS)]


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(trajectory_module, "_BATCH", 4)


def test_what_is_written_is_read(tmp_path, small_batches):
    passes = [Pass(run, epoch, phase) for run in (0, 1) for epoch in (1, 2) for phase in ("train", "probe")]
    logits = make_logits(len(passes))
    rng = np.random.default_rng(3)
    with TrajectoryWriter(tmp_path / "t.parquet", CLASSES) as writer:
        for at, values in zip(passes, logits, strict=True):
            order = rng.permutation(len(KEYS))
            for part in (order[:2], order[2:]):
                writer.write([KEYS[row] for row in part], LABELS[part], at, values[part])
    trajectory = Trajectory(tmp_path / "t.parquet")
    assert trajectory.keys == sorted(KEYS) and trajectory.labels.tolist() == LABELS[np.argsort(KEYS)].tolist()
    assert trajectory.labels.dtype == np.int32
    assert (trajectory.classes, trajectory.epochs, trajectory.runs) == (CLASSES, 2, [0, 1])
    assert trajectory.passes == passes
    for run in (0, 1):
        order, found = read_all(trajectory, run)
        assert order == [at for at in passes if at.run == run]
        expected = by_sorted_key(logits)[run * 4 : run * 4 + 4]
        assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_the_file_is_plain_parquet(tmp_path):
    with TrajectoryWriter(tmp_path / "t.parquet", CLASSES) as writer:
        writer.write(KEYS, LABELS, Pass(0, 1, "train"), make_logits(1)[0])
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.field("logits").type == pa.list_(pa.float32(), CLASSES)
    assert schema.field("label").type == pa.int32()
    assert schema.names == ["key", "label", "run", "epoch", "phase", "logits"]


@pytest.mark.parametrize("phases", [None, ["train", "probe"]])
@pytest.mark.parametrize("runs", [None, [0, 3]])
@pytest.mark.parametrize("first", [0, 1, 7])
@pytest.mark.parametrize("sort", [True, False])
def test_rows_in_any_order(tmp_path, small_batches, phases, runs, first, sort):
    columns = make_columns([first, first + 1, first + 2], phases, runs)
    path = write(tmp_path / "t.parquet", columns if sort else permute(columns))
    # Keys in an order of DATA, which is neither the file's nor sorted.
    known = ["e", "a", "d", "c", "b"]
    place = [KEYS.index(key) for key in known]
    trajectory = Trajectory(path, known, LABELS[place])
    assert trajectory._ordered is sort
    assert trajectory.epochs == 3 and trajectory.runs == (runs or [0])
    expected = make_logits(3 * len(phases or [0]) * len(runs or [0]))[:, place]
    per_run = len(expected) // len(trajectory.runs)
    for number, run in enumerate(trajectory.runs):
        order, found = read_all(trajectory, run)
        names = phases or [BOTH]
        assert order == [Pass(run, epoch, phase) for epoch in (1, 2, 3) for phase in names]
        assert np.array_equal(found, expected[number * per_run : (number + 1) * per_run])


def test_whole_passes_in_another_order(tmp_path, monkeypatch):
    """Every batch is in order, the file is not."""
    monkeypatch.setattr(trajectory_module, "_BATCH", len(KEYS))
    columns = make_columns(epochs=(3, 1, 2))
    trajectory = Trajectory(write(tmp_path / "t.parquet", columns), KEYS, LABELS)
    order, found = read_all(trajectory)
    assert [at.epoch for at in order] == [1, 2, 3]
    assert np.array_equal(found, make_logits(3)[[1, 2, 0]])


def test_keys_and_labels_of_the_file_itself(tmp_path):
    trajectory = Trajectory(write(tmp_path / "t.parquet", permute(make_columns())))
    assert trajectory.keys == ["a", "b", "c", "d", "e"] and trajectory.labels.tolist() == [0, 0, 0, 2, 1]
    assert trajectory.passes == [Pass(0, epoch, BOTH) for epoch in (1, 2, 3)]


def test_other_types_that_mean_the_same(tmp_path):
    columns = make_columns(phases=["train", "probe"], runs=[0])
    expected = read_all(Trajectory(write(tmp_path / "a.parquet", columns)))
    path = write(
        tmp_path / "b.parquet",
        columns,
        key=pa.large_string(),
        label=pa.int8(),
        epoch=pa.float64(),
        logits=pa.large_list(pa.float64()),
    )
    table = pq.read_table(path)
    table = table.set_column(4, "phase", table["phase"].dictionary_encode())
    pq.write_table(table, path)
    found = read_all(Trajectory(path))
    assert found[0] == expected[0] and np.array_equal(found[1], expected[1])


def edit(name, row, value):
    """A change of one cell of the columns."""

    def change(columns):
        columns[name][row] = value

    return change


def drop(row):
    def change(columns):
        for values in columns.values():
            del values[row]

    return change


def repeat(row):
    def change(columns):
        for values in columns.values():
            values.append(values[row])

    return change


def rename(old, new):
    def change(columns):
        columns[new] = columns.pop(old)

    return change


def texts(name):
    def change(columns):
        columns[name] = ["x"] * len(columns[name])

    return change


def vectors_of(kind):
    def change(columns):
        columns["logits"] = [kind] * len(columns["logits"])

    return change


# Rows 0-4 are epoch 1 (keys c a b e d), rows 5-9 epoch 2, rows 10-14 epoch 3.
BAD = {
    "missing": (drop(6), "key 'a' has no logits in epoch 2 "),
    "twice": (repeat(8), "key 'e' stands there twice in epoch 2 "),
    "twice instead": (edit("key", 6, "c"), "key 'c' stands there twice in epoch 2 "),
    "unknown": (edit("key", 7, "zebra"), "key 'zebra' is not among the samples"),
    "label": (edit("label", 9, 1), "key 'd' has label 1, but the sample has 2"),
    "nan": (edit("logits", 11, [0.0, float("nan"), 0.0]), "'logits' holds NaN or infinity, first in row 11"),
    "inf": (edit("logits", 3, [0.0, float("inf"), 0.0]), "'logits' holds NaN or infinity, first in row 3"),
    "huge": (edit("logits", 3, [0.0, 1e300, 0.0]), "'logits' holds NaN or infinity, first in row 3"),
    "null number": (edit("logits", 3, [0.0, None, 0.0]), "'logits' holds NaN or infinity, first in row 3"),
    "null logits": (edit("logits", 2, None), "column 'logits' lacks a value in 1 rows"),
    "null label": (edit("label", 2, None), "column 'label' lacks a value in 1 rows"),
    "null key": (edit("key", 2, None), "column 'key' lacks a value in 1 rows"),
    "null epoch": (edit("epoch", 2, None), "column 'epoch' lacks a value in 1 rows"),
    "shorter": (edit("logits", 9, [0.0, 1.0]), "column 'logits' have different lengths"),
    "text labels": (texts("label"), "column 'label' holds string, not whole numbers"),
    "text epochs": (texts("epoch"), "column 'epoch' holds string, not whole numbers"),
    "half epochs": (edit("epoch", 0, 1.5), "column 'epoch' holds double, not whole numbers"),
    "negative epoch": (edit("epoch", 0, -1), "column 'epoch' holds a number below 0"),
    "text logits": (texts("logits"), "column 'logits' holds string, not lists of numbers"),
    "texts in logits": (vectors_of(["x"]), "column 'logits' holds list<.*>, not lists of numbers"),
    "no logits": (vectors_of([]), "there are 0, from 0 on"),
    "two logits": (vectors_of([1.0, 2.0]), "label 2 has no logit; there are 2"),
    "no key column": (rename("key", "name"), "there is no column 'key'; it has .*name"),
    "no label column": (rename("label", "y"), "there is no column 'label'"),
    "no epoch column": (rename("epoch", "step"), "there is no column 'epoch'"),
    "no logits column": (rename("logits", "scores"), "there is no column 'logits'"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("mixed", [False, True])
def test_bad_files(tmp_path, small_batches, name, mixed):
    change, message = BAD[name]
    columns = make_columns()
    change(columns)
    if mixed:
        columns = permute(columns)
        message = message.partition(", first in row")[0]
    path = write(tmp_path / "t.parquet", columns)
    with pytest.raises(DataError, match=rf"t\.parquet: .*{message}") as error:
        read_all(Trajectory(path, KEYS, LABELS))
    assert "\n" not in str(error.value)


def test_bad_files_without_data(tmp_path):
    for name in ("missing", "twice", "null label", "null key", "two logits", "text labels"):
        change, message = BAD[name]
        columns = make_columns()
        change(columns)
        with pytest.raises(DataError, match=message):
            Trajectory(write(tmp_path / "t.parquet", columns))
    columns = make_columns()
    columns["label"][11] = 2
    with pytest.raises(DataError, match="key 'a' has label 2, but the sample has 0"):
        Trajectory(write(tmp_path / "t.parquet", columns))
    columns = make_columns()
    columns["label"] = [-1 if label == 0 else label for label in columns["label"]]
    with pytest.raises(DataError, match="label -1 is negative"):
        Trajectory(write(tmp_path / "t.parquet", columns))


def test_messages_say_which_pass(tmp_path):
    columns = make_columns(epochs=(4, 5), phases=["train", "probe"], runs=[2, 6])
    drop(36)(columns)  # run 6, epoch 5, train... the eighth pass begins at row 35
    with pytest.raises(DataError, match=r"key 'a' has no logits in epoch 5 \(probe, run 6\)"):
        Trajectory(write(tmp_path / "t.parquet", columns))


def test_phases_have_two_names(tmp_path):
    columns = make_columns(phases=["train"])
    columns["phase"][3] = "test"
    with pytest.raises(DataError, match=r"t\.parquet: phase 'test' is neither 'train' nor 'probe'"):
        Trajectory(write(tmp_path / "t.parquet", columns))
    columns["phase"][3] = None
    with pytest.raises(DataError, match=r"t\.parquet: column 'phase' lacks a value in 1 rows"):
        Trajectory(write(tmp_path / "t.parquet", columns))


def test_keys_of_data_that_are_missing(tmp_path):
    path = write(tmp_path / "t.parquet", make_columns())
    with pytest.raises(DataError, match=r"key 'f' has no logits in epoch 1 \(run 0\)"):
        Trajectory(path, [*KEYS, "f"], np.array([*LABELS, 1], np.int32))
    with pytest.raises(DataError, match="key 'd' is not among the samples"):
        Trajectory(path, KEYS[:4], LABELS[:4])


def test_no_file_no_parquet_no_rows(tmp_path):
    with pytest.raises(DataError, match=r"none\.parquet: there is no such file"):
        Trajectory(tmp_path / "none.parquet")
    for raw in (b"", b"key,label\n", b"PAR1" * 10):
        (tmp_path / "t.parquet").write_bytes(raw)
        with pytest.raises(DataError, match=r"t\.parquet: this is no Parquet file"):
            Trajectory(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="this is no Parquet file"):
        Trajectory(tmp_path)
    with TrajectoryWriter(tmp_path / "empty.parquet", CLASSES):
        pass
    with pytest.raises(DataError, match=r"empty\.parquet: the trajectory is empty"):
        Trajectory(tmp_path / "empty.parquet")


def test_a_spill_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    trajectory = Trajectory(write(tmp_path / "t.parquet", permute(make_columns())))
    batches = trajectory.read(0)
    next(batches)
    assert len(list(tmp_path.iterdir())) == 2
    batches.close()
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_memory_does_not_grow_with_the_epochs(tmp_path):
    """N samples take N places and names; E epochs take nothing more."""
    count, classes = 1500, 6
    keys = [f"key{row:05}" for row in range(count)]
    labels = np.minimum(np.arange(count) // 1000, 1).astype(np.int32)
    peaks = []
    for epochs in (12, 96):
        path = tmp_path / f"{epochs}.parquet"
        with TrajectoryWriter(path, classes) as writer:
            for epoch in range(1, epochs + 1):
                logits = np.full((count, classes), epoch, np.float32)
                writer.write(keys, labels, Pass(0, epoch, "train"), logits)
        arrow = pa.total_allocated_bytes()
        tracemalloc.start()
        most, seen = 0, 0
        for _, rows, _ in Trajectory(path).read(0):
            most = max(most, pa.total_allocated_bytes() - arrow)
            seen += len(rows)
        assert seen == epochs * count
        peaks.append(tracemalloc.get_traced_memory()[1] + most)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_an_epoch_that_is_missing_between_others(tmp_path):
    write(tmp_path / "t.parquet", make_columns(epochs=(1, 2, 4, 5)))
    with pytest.raises(DataError, match="there is no epoch 3 between 1 and 5"):
        Trajectory(tmp_path / "t.parquet")
