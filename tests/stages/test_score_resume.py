"""`score` goes on where it stopped, whatever was asked for, and gives what an undisturbed command gives."""

from __future__ import annotations

import numpy as np
import pytest
from toy_stages import Told, run_score, table_bytes, training

from dprune_cli.core.errors import Interrupted, UsageError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.resume_dir import resume_folder
from dprune_cli.io.table import write_table

METHODS = ["el2n:epoch=2", "aum", "tdds:window=3", "k_center", "adapruner:keep=0.5"]


def score_into(folder, data, told=None, methods=METHODS, config=None, **options):
    """As the command does it: the table of a score with recordings, into a folder."""
    output = str(folder / "t.parquet")
    with resume_folder(output) as state:
        result = run_score(
            data,
            *methods,
            progress=told,
            config=config,
            runs=2,
            state=state,
            **{
                "record_trajectory": folder / "trajectory.parquet",
                "record_features": folder / "features.parquet",
                **options,
            },
        )
        write_table(result.table, output, force=True)
    return result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, image_folder):
    folder = tmp_path_factory.mktemp("undisturbed")
    told = Told()
    result = score_into(folder, [image_folder], told)
    return folder, table_bytes(result.table), told


@pytest.mark.parametrize(
    ("stop", "run", "left"),
    [
        # Epochs of the schedule that are still to be trained: of both runs, and of what adapruner adds.
        ("epoch 1/3", 1, 12),
        ("epoch 3/3", 1, 10),
        ("clean pass", 2, 10),
        ("epoch 2/3", 3, 5),
    ],
)
def test_an_interrupted_score_goes_on(tmp_path, image_folder, undisturbed, stop, run, left):
    told = Told()
    counted = Stop(stop, run)
    with pytest.raises(Interrupted):
        score_into(tmp_path, [image_folder], counted)
    assert (tmp_path / ".t.parquet.resume").is_dir() == (left < 12)
    result = score_into(tmp_path, [image_folder], told)
    assert sum(name.startswith("epoch") for name in told.passes) == left
    folder, table, _ = undisturbed
    assert table_bytes(result.table) == table
    for name in ("trajectory.parquet", "features.parquet"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "features.parquet",
        "t.parquet",
        "trajectory.parquet",
    ]


class Stop(Told):
    """Breaks off in the n-th pass of a name, in its second batch if it has one."""

    def __init__(self, name, number):
        super().__init__()
        self.name, self.number = name, number

    def track(self, items, total, what, **how):
        self.passes.append(what)
        if what != self.name or self.passes.count(what) != self.number:
            yield from items
            return
        batches = list(items)
        yield from batches[: min(2, len(batches)) - 1]
        raise Interrupted(2)


def test_everything_is_trained_once_without_an_interruption(undisturbed):
    assert sum(name.startswith("epoch") for name in undisturbed[2].passes) == 12


def interrupted(tmp_path, data):
    with pytest.raises(Interrupted):
        score_into(tmp_path, data, Stop("epoch 2/3", 1))
    assert (tmp_path / ".t.parquet.resume" / "run-0.pt").is_file()


def test_other_work_does_not_go_on_from_it(tmp_path, image_folder, shard_folder):
    interrupted(tmp_path, [image_folder])
    others = [
        {"data": [shard_folder]},
        {"methods": METHODS[:2]},
        {"config": training(lr=0.01)},
        {"record_features": None},
    ]
    for other in others:
        with pytest.raises(UsageError, match="unfinished work with other options or data; repeat those"):
            score_into(tmp_path, **{"data": [image_folder], **other})
    told = Told()
    score_into(tmp_path, [image_folder], told, config=training(lr=0.01), force=True)
    assert sum(name.startswith("epoch") for name in told.passes) == 12
    assert not (tmp_path / ".t.parquet.resume").exists()


def test_the_rows_of_shards_are_told_apart(shard_folder):
    samples = open_samples([str(shard_folder)])
    turned = samples.take(np.arange(len(samples))[::-1])
    assert turned.table().meta.fingerprint == samples.table().meta.fingerprint
    assert turned.digest() != samples.digest()


def test_a_score_that_fails_before_it_trains_leaves_nothing(tmp_path, image_folder):
    with pytest.raises(UsageError):
        score_into(tmp_path, [image_folder], methods=["el2n:epoch=99"])
    assert not list(tmp_path.iterdir())


def test_two_scores_of_one_output_do_not_mix(tmp_path):
    with (
        resume_folder(str(tmp_path / "t.parquet")),
        pytest.raises(UsageError, match=r"another command is writing .*t\.parquet"),
        resume_folder(str(tmp_path / "t.parquet")),
    ):
        pass


def test_standard_output_has_no_state():
    with resume_folder("-") as state:
        assert state is None
