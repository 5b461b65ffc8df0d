"""What is saved of a run between its epochs, and what of it is dropped when the run goes on."""

from __future__ import annotations

import errno

import pyarrow.parquet as pq
import pytest
import torch
from toy_fits import make_config, make_data, make_fit, make_info, same

from dprune_cli.core.errors import DpruneError
from dprune_cli.train.checkpoint import load_state, save_state
from dprune_cli.train.observe import BatchObs, Phase
from dprune_cli.train.recording import FeatureLog
from dprune_cli.train.run_state import RunState


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


class Stopped(BaseException):
    """As `Interrupted` is, no `Exception`."""


class StopBefore:
    """Progress that breaks off when an epoch begins."""

    def __init__(self, what):
        self.what = what

    def track(self, items, total, what, **how):
        if what == self.what:
            raise Stopped
        yield from items


def start(path, stop=None):
    return make_fit(make_config(), snapshots=frozenset({0, 1, 3}), state_file=path, progress=StopBefore(stop))


def test_snapshots_survive_an_interruption(tmp_path):
    whole = start(None)
    whole.train()
    with pytest.raises(Stopped):
        start(tmp_path / "s.pt", "epoch 3/3").train()
    again = start(tmp_path / "s.pt")
    again.train()
    assert sorted(again.kept) == [0, 1, 3]
    assert all(same(again.kept[epoch], whole.kept[epoch]) for epoch in whole.kept)
    assert not same(again.kept[1], again.kept[3])


def test_what_was_kept_is_given_back_and_nothing_else_lost(tmp_path):
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    snapshot = {"weight": torch.arange(6.0).reshape(3, 2)}
    RunState(tmp_path / "s.pt", model, optimizer, [], [{"lr": 0.5}], {1: snapshot}).save(2)
    kept, history = {}, []
    assert RunState(tmp_path / "s.pt", model, optimizer, [], history, kept).restore() == 2
    assert list(kept) == [1] and same(kept[1], snapshot) and history == [{"lr": 0.5}]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("torch")])
def test_a_state_that_cannot_be_saved_leaves_only_the_one_before(tmp_path, monkeypatch, error):
    def fail(state, file):
        file.write(b"half")
        raise error

    path = tmp_path / "s.pt"
    save_state(path, {"epoch": 1})
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", fail)
        with pytest.raises(DpruneError if isinstance(error, OSError) else RuntimeError):
            save_state(path, {"epoch": 2})
    assert names(tmp_path) == ["s.pt"] and load_state(path)["epoch"] == 1


def make_log(folder):
    log = FeatureLog(folder, 2)
    log.start(make_info(make_data(), 3))
    return log


def test_features_of_an_interrupted_run_go(tmp_path):
    # Two processes wrote them; the one that goes on writes the first only.
    for name in ("0000.parquet", "0001.parquet", "0001.unfinished"):
        (tmp_path / name).touch()
    log = make_log(tmp_path)
    log.settle(1)
    assert names(tmp_path) == []
    index = torch.tensor([3, 0, 7])
    logits = torch.tensor([[0.5, 1.0, 2.0], [1.5, 0.0, 3.0], [2.5, 1.0, 4.0]])
    target = make_data().target[index]
    log.update(BatchObs(Phase.PROBE, 2, index, target, logits, torch.ones(3), embedding=torch.eye(3)))
    log.settle(2)
    assert names(tmp_path) == ["0000.parquet"]
    keys = make_info(make_data(), 3).keys
    assert pq.read_table(tmp_path / "0000.parquet").column("key").to_pylist() == [keys[3], keys[0], keys[7]]


@pytest.mark.parametrize("epoch", [2, 3])
def test_features_that_were_finished_stay(tmp_path, epoch):
    for name in ("0000.parquet", "0001.parquet"):
        (tmp_path / name).touch()
    make_log(tmp_path).settle(epoch)
    assert names(tmp_path) == ["0000.parquet", "0001.parquet"]
