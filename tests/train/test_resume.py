from __future__ import annotations

import io
import zipfile

import pytest
import torch
from toy_fits import (
    make_config,
    make_data,
    make_fit,
    make_model,
    make_validation,
    same,
    weights,
    without_seconds,
)

from dprune_cli.core.errors import DataError
from dprune_cli.models.build import build_model
from dprune_cli.scores.base import SCORES
from dprune_cli.train.checkpoint import load_state, save_state
from dprune_cli.train.recorders import VisitLog
from dprune_cli.weighters.cdb_w import CdbW

EPOCHS = 4


class Stopped(BaseException):
    """As `Interrupted` is, no `Exception`."""


class StopAt:
    """Progress that breaks off in the second batch of an epoch."""

    def __init__(self, epoch):
        self.what = f"epoch {epoch}/{EPOCHS}"

    def track(self, items, total, what, **how):
        for number, item in enumerate(items):
            if what == self.what and number == 1:
                raise Stopped
            yield item


class Through(StopAt):
    def __init__(self):
        self.what = None


def make_recorders():
    specs = [
        *("aum", "forgetting", "el2n:epoch=2", "grand:epoch=1", "grand_last:epoch=3", "entropy", "moderate"),
        *("tdds:window=3,epochs=4", "dyn_unc:window=2", "dyn_unc:window=3,phase=probe"),
    ]
    scores = [SCORES.make(spec) for spec in specs]
    return [VisitLog(), *(one for score in scores for one in score.recorders(EPOCHS).values())]


def start(net, path, progress):
    weight = torch.linspace(0.5, 1.5, 40)
    return make_fit(
        make_config(epochs=EPOCHS, schedule="cosine", warmup=1.0),
        data=make_data(weight=weight),
        model=make_model() if net == "dropout" else build_model(net, 4, 8, seed=0),
        progress=progress,
        recorders=make_recorders(),
        weighter=CdbW(),
        validation=make_validation(),
        state_file=path,
    )


def everything(fit):
    hooks = [*fit.recorders, fit.weighter]
    return weights(fit.model), without_seconds(fit.history), [dict(hook.state) for hook in hooks]


@pytest.mark.parametrize("net", ["dropout", "tiny"])
def test_resuming_after_any_epoch_equals_never_stopping(tmp_path, net):
    fit = start(net, None, Through())
    fit.train()
    expected = everything(fit)
    assert not same(expected[0], weights(start(net, None, Through()).model))
    for stop in range(1, EPOCHS + 1):
        path = tmp_path / f"{stop}.pt"
        with pytest.raises(Stopped):
            start(net, path, StopAt(stop)).train()
        assert path.exists() == (stop > 1)
        again = start(net, path, Through())
        again.train()
        found = everything(again)
        assert same(found[0], expected[0]) and found[1] == expected[1]
        assert all(same(*pair) for pair in zip(found[2], expected[2], strict=True))


def test_a_finished_run_is_only_read(tmp_path):
    fit = start("dropout", tmp_path / "s.pt", Through())
    fit.train()
    again = start("dropout", tmp_path / "s.pt", StopAt(1))
    again.train()
    assert same(weights(again.model), weights(fit.model)) and again.history == fit.history
    assert all(same(a.state, b.state) for a, b in zip(again.recorders, fit.recorders, strict=True))


def test_a_state_is_tensors_and_numbers_without_code(tmp_path):
    save_state(tmp_path / "s.pt", {"epoch": 3, "model": {"w": torch.ones(2)}, "history": [{"lr": 0.5}]})
    state = load_state(tmp_path / "s.pt")
    assert state["epoch"] == 3 and state["history"] == [{"lr": 0.5}]
    assert torch.equal(state["model"]["w"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["s.pt"]
    assert load_state(tmp_path / "none.pt") is None


def a_zip():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("data.pkl", b"text")
    return target.getvalue()


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_file_that_is_no_state_is_refused(tmp_path, capsys):
    path = tmp_path / "s.pt"
    torch.save({"format": 2, "epoch": Evil()}, path)
    with pytest.raises(DataError, match=r"s\.pt: this is no resume state; delete it"):
        load_state(path)
    assert capsys.readouterr().out == ""
    whole = tmp_path / "whole.pt"
    save_state(whole, {"epoch": 3, "model": {"w": torch.ones(2000)}})
    for raw in (b"", b"text", b"\x80\x02.", whole.read_bytes()[:4000], b"PK\x03\x04", a_zip()):
        path.write_bytes(raw)
        with pytest.raises(DataError, match="this is no resume state"):
            load_state(path)
    for other in ({"format": 1}, [1, 2], {}):
        torch.save(other, path)
        with pytest.raises(DataError, match="another version"):
            load_state(path)
