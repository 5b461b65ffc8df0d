"""Short ways to run the stages on small data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import Interrupted
from dprune_cli.core.progress import Silent, one
from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.io.table_write import write_rows
from dprune_cli.stages.evaluate import EvaluateRequest, evaluate
from dprune_cli.stages.score import score
from dprune_cli.stages.score_request import ScoreRequest
from dprune_cli.stages.train import TrainRequest, train

NET = "toy_models:dropout_net"


def training(**settings):
    return TrainConfig(
        **{"model": NET, "device": "cpu", "epochs": 3, "batch_size": 8, "lr": 0.05, "shift": 1, **settings}
    )


def run_score(data, *methods, progress=None, config=None, **options):
    request = ScoreRequest(
        data=[str(word) for word in data],
        methods=methods,
        training=config or training(),
        **options,
    )
    return score(request, progress or Silent())


def run_train(data, out, progress=None, config=None, **options):
    options["val"] = [str(word) for word in options.get("val", ())]
    request = TrainRequest(
        data=[str(word) for word in data], out=Path(out), training=config or training(), **options
    )
    return train(request, progress or Silent())


def run_evaluate(runs, data, **options):
    runs, data = [str(run) for run in runs], [str(word) for word in data]
    return evaluate(
        EvaluateRequest(runs=runs, data=data, reading=DataConfig(**options), device="cpu"), Silent()
    )


def column(table, name):
    return table.data[name].to_pylist()


def table_bytes(table):
    sink = io.BytesIO()
    write_rows(table, sink)
    return sink.getvalue()


def make_table(keys, classes=(), **columns):
    """A table as another tool may have made it."""
    return ScoreTable(
        pa.table({"key": pa.array(keys, pa.string()), **columns}), TableMeta(classes=list(classes)), "T"
    )


def load_weights(run):
    return load_file(Path(run) / "model.safetensors")


def same_weights(first, second):
    one, two = load_weights(first), load_weights(second)
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


class Told(Silent):
    """Remembers what it is told; breaks off in the second batch of `stop`, say 'epoch 2/3'."""

    def __init__(self, stop=None):
        super().__init__()
        self.stop, self.notes, self.passes = stop, [], []

    def note(self, line):
        self.notes.append(line)

    def track(self, items, total, what, *, unit="samples", size=one, done=0):
        if unit == "samples":
            self.passes.append(what)
        for count, item in enumerate(items, 1):
            if what == self.stop and count == 2:
                raise Interrupted(2)
            yield item
            done += size(item)
        assert done == total, f"{what}: {done} of {total} {unit}"
