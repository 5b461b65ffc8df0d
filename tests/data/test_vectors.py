from __future__ import annotations

import numpy as np
import pytest
import torch

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import DpruneError
from dprune_cli.data.batch import Piece, split
from dprune_cli.data.vectors import Vectors

CPU = torch.device("cpu")
# Of 7 samples the rows 2 and 5 cannot be used; the others hold (row, row / 10).
ROWS = np.array([0, 1, 3, 4, 6])


def make_vectors():
    features = np.stack([ROWS, ROWS / 10], 1).astype(np.float32)
    return Vectors(features, ROWS, 7, CPU)


def expected(rows):
    return [[row, pytest.approx(row / 10)] for row in rows]


def test_features_by_row_in_any_order_and_repeated():
    found = make_vectors().get(torch.tensor([6, 0, 6, 3]))
    assert found.dtype == torch.float32 and found.tolist() == expected([6, 0, 6, 3])


@pytest.mark.parametrize("row", [2, 5])
def test_a_row_without_features(row):
    with pytest.raises(ValueError, match=f"row {row} "):
        make_vectors().get(torch.tensor([0, row]))
    with pytest.raises(ValueError, match=f"row {row} "):
        list(make_vectors().batches([np.array([0, row])]))


@pytest.mark.parametrize(("size", "sizes"), [(2, [2, 3]), (3, [3, 2]), (5, [5]), (100, [5])])
def test_batches_in_the_order_asked_for_and_never_of_one_sample(size, sizes):
    rows = np.array([4, 6, 0, 3, 1])
    found = list(make_vectors().batches(list(split(rows, size))))
    assert [len(index) for index, _ in found] == sizes
    assert torch.cat([index for index, _ in found]).tolist() == rows.tolist()
    assert torch.cat([stored for _, stored in found]).tolist() == expected(rows)


def test_no_rows_are_no_batches():
    assert list(make_vectors().batches([])) == []


def test_batches_may_be_left_early_and_rows_are_not_kept():
    rows = np.array([4, 6, 0, 3, 1])
    batches = make_vectors().batches([rows[:2], rows[2:]])
    index, _ = next(batches)
    rows[:] = 0
    assert index.tolist() == [4, 6]
    batches.close()


def test_the_model_sees_what_is_stored():
    vectors = make_vectors()
    stored = vectors.get(torch.tensor([1, 3]))
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert vectors.clean(stored) is stored
    assert vectors.views(TrainConfig())(stored, generator, Piece(np.array([1, 3]), np.arange(2))) is stored
    assert torch.equal(generator.get_state(), before)


def test_what_is_known_of_them():
    vectors = make_vectors()
    assert vectors.rows.tolist() == ROWS.tolist()
    assert (vectors.width, vectors.bad, vectors.device) == (2, {}, CPU)


def test_too_little_memory_is_one_line(monkeypatch):
    def refuse(tensor, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "to", refuse)
    with pytest.raises(
        DpruneError, match=r"the features take 0\.0 GB, more than is free on cpu; give --device cpu"
    ):
        make_vectors()
