"""A subset to use again from a run that chose anew in every epoch, from the command line alone."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import QUICK, call, must


@pytest.fixture
def run(image_folder, tmp_path):
    """The folder of a run that visits 12 of 40 samples in each of two epochs."""

    def train(sampler):
        settings = [*QUICK, "--epochs", "2", "--batch-size", "8"]
        must("train", image_folder, "-o", tmp_path / "run", "--sampler", sampler, "--keep", "0.3", *settings)
        return tmp_path / "run" / "table.parquet"

    return train


def test_what_rcap_visited_most(run, tmp_path):
    table = run("rcap")
    visits = np.array(pq.read_table(table)["visits"])
    assert visits.sum() == 24
    done = must("select", table, "--by", "visits", "--keep", "0.3", "-o", tmp_path / "kept")
    keep = np.array(pq.read_table(tmp_path / "kept")["keep"])
    assert keep.sum() == 12 and visits[keep].sum() == np.sort(visits)[-12:].sum()
    assert "does not say which end" not in done.err and "kept 12 of 40 samples" in done.err


def test_the_largest_mean_losses_of_a_fixed_subset(run, tmp_path):
    table = run("random")
    losses = np.array(pq.read_table(table)["mean_loss"].to_pylist(), float)
    must("select", table, "--by", "mean_loss", "--keep", "5", "-o", tmp_path / "kept")
    found = pq.read_table(tmp_path / "kept")
    assert set(np.flatnonzero(found["keep"])) == set(np.argsort(np.where(np.isnan(losses), -1, losses))[-5:])
    assert found["reason"].to_pylist().count("no_score") == 28
    done = call("select", table, "--by", "mean_loss", "--keep", "13", "-o", tmp_path / "more")
    assert done.code == 4 and not (tmp_path / "more").exists()
    assert done.line == (
        f"{table}: 13 samples of 'the data set' are to be kept, but only 12 can be picked; "
        "28 have no 'mean_loss': keep less, or go by another column"
    )
    must("select", table, "--by", "visits", "--keep", "13", "-o", tmp_path / "more")
