"""correlation.py of samples/reproduce: class losses of an epoch with class budgets of the next."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reproduce_stubs import load

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import Silent
from dprune_cli.stages.train import TrainRequest, train

correlation, record = load("correlation"), load("record")

# Classes of 8, 4 and 2 usable samples.
LABELS = [0] * 8 + [1] * 4 + [2] * 2
VISITED = [[4, 2, 1], [2, 2, 2], [2, 3, 2], [6, 1, 1]]
LOSS = [[4.0, 4.0, 3.0], [2.0, 4.0, 6.0], [6.0, 6.0, 2.0], [9.0, 9.0, 9.0]]


def write_run(folder, visited=VISITED, loss=LOSS, labels=LABELS, sampler="rcap", **columns):
    folder.mkdir()
    pq.write_table(pa.table({"class_visited": visited, "class_loss": loss}), folder / "history.parquet")
    columns = {"status": ["ok"] * len(labels), **columns}
    status = pa.array(columns.pop("status")).dictionary_encode()
    pq.write_table(pa.table({"label": labels, "status": status, **columns}), folder / "table.parquet")
    (folder / "config.json").write_text(json.dumps({"data": {"sampler": sampler}}))
    return folder


def pearson(first, second):
    return np.corrcoef(first, second)[0, 1]


def test_losses_go_with_the_budgets_of_the_next_epoch(tmp_path):
    means, sums = correlation.correlate_epochs(correlation.read_run(write_run(tmp_path / "run")))
    # Mean losses 1, 2, 3 of the first two epochs, 3, 2, 1 of the third.
    # Densities 1/4, 1/2, 1 of the second epoch, then 1/4, 3/4, 1, then 3/4, 1/4, 1/2.
    assert means == pytest.approx(
        [pearson([1, 2, 3], [1, 2, 4]), pearson([1, 2, 3], [1, 3, 4]), pearson([3, 2, 1], [3, 1, 2])]
    )
    # Every class has budget 2 in the second epoch, which no loss can go with.
    assert np.isnan(sums[0])
    assert sums[1:] == pytest.approx(
        [pearson([2, 4, 6], [2, 3, 2]), pearson([6, 6, 2], [6, 1, 1])], abs=1e-12
    )


def test_the_mean_is_over_the_epochs_from_the_second_on(tmp_path, capsys):
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two", VISITED[::-1], LOSS[::-1])
    correlation.main([str(one), str(two)])
    first, second = capsys.readouterr().out.splitlines()
    # (0.982 + 0.500) / 2, and (0 + 0.5) / 2.
    assert first == (
        f"{one}: epochs 2 to 3 (epoch 3): mean class loss with next density 0.741 (0.500), "
        "class loss with next budget 0.250 (0.500)"
    )
    assert second.startswith(f"{two}: epochs 2 to 3 (epoch 3): mean class loss with next density ")


def test_rcap_over_whole_classes_has_losses_of_all_their_samples(tmp_path):
    visited = [[2, 3, 2], [2, 3, 2], [2, 3, 2]]
    loss = [[8.0, 8.0, 6.0]] * 3
    for sampler, by in (("rcap:aggregate=class", [8, 4, 2]), ("rcap", [2, 3, 2]), (None, [2, 3, 2])):
        run = correlation.read_run(write_run(tmp_path / f"{sampler}", visited, loss, sampler=sampler))
        assert run.mean_loss[0] == pytest.approx(np.array(loss[0]) / by)


def test_classes_without_visits_have_no_mean_loss(tmp_path):
    visited = [[4, 0, 1, 1], [1, 2, 2, 3], [1, 2, 2, 3]]
    loss = [[4.0, 0.0, 2.0, 4.0], [1.0, 4.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]]
    labels = [*LABELS, 3, 3, 3, 3, 3]
    run = correlation.read_run(write_run(tmp_path / "run", visited, loss, labels))
    assert np.isnan(run.mean_loss[0]).tolist() == [False, True, False, False]
    means, _ = correlation.correlate_epochs(run)
    assert means[0] == pytest.approx(pearson([1, 2, 4], [1 / 8, 2 / 2, 3 / 5]))


def test_sizes_count_what_the_run_could_visit(tmp_path):
    labels = [0, 0, 0, 1, 1, 2, None]
    status = ["ok", "ok", "decode_error", "ok", "ok", "ok", "missing_label"]
    keep = [True, True, True, False, True, True, False]
    plain = write_run(tmp_path / "plain", labels=labels, status=status)
    kept = write_run(tmp_path / "kept", labels=labels, status=status, keep=keep)
    assert correlation.read_run(plain).sizes.tolist() == [2, 2, 1]
    assert correlation.read_run(kept).sizes.tolist() == [2, 1, 1]


def test_what_cannot_be_correlated_is_told(tmp_path):
    short = write_run(tmp_path / "short", VISITED[:2], LOSS[:2])
    with pytest.raises(SystemExit, match=r"correlation\.py: .*short: a run of 2 epochs is too short"):
        correlation.main([str(short)])
    with pytest.raises(SystemExit, match=r"correlation\.py: .*none"):
        correlation.main([str(tmp_path / "none")])


def test_a_real_run_is_read(shard_folder, tmp_path):
    training = TrainConfig(model="toy_models:dropout_net", device="cpu", epochs=4, batch_size=8, shift=1)
    out = tmp_path / "run"
    asked = TrainRequest(data=[str(shard_folder)], out=out, training=training, sampler="rcap", keep="0.5")
    train(asked, Silent())
    run = correlation.read_run(out)
    assert run.sizes.tolist() == [20, 12, 6, 2]
    assert run.visited.sum(1).tolist() == [20] * 4 and (run.visited <= run.sizes).all()
    means, sums = correlation.correlate_epochs(run)
    assert len(means) == len(sums) == 3
    # n_j goes with the root of N_j L_j, rounded to samples, so here the two rise together.
    assert min(sums) > 0.9
    history = pq.read_table(out / "history.parquet").to_pylist()
    assert float(record.training_seconds(out)) <= sum(row["seconds"] for row in history) + 0.05


def test_doctests():
    result = doctest.testmod(correlation)
    assert result.attempted >= 4 and result.failed == 0
