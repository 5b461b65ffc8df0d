"""Every registered score through the same checks."""

from __future__ import annotations

import dataclasses
import sys
from typing import get_args

import numpy as np
import pytest
from toy_trajectory import compute, make_info, make_logits

from dprune_cli.core.info import End, ScoreInfo
from dprune_cli.core.registry import parameters
from dprune_cli.io.table import COLUMN_TYPES
from dprune_cli.scores.base import SCORES, Score
from dprune_cli.train.observe import Field, Phase

EPOCHS = 11
ALL = SCORES.names()


def test_they_are_there():
    trajectory = {"el2n", "forgetting", "aum", "entropy", "dyn_unc", "tdds"}
    features = {"moderate", "herding", "k_center", "ssp", "cg", "glister", "d2"}
    assert {"random", "grand", "grand_last", "adapruner", *trajectory, *features} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_it_says_what_it_is(name):
    cls = SCORES.get(name)
    assert issubclass(cls, Score) and isinstance(cls.info, ScoreInfo)
    assert cls.info.name == name == cls.__module__.rpartition(".")[2]
    assert cls.info.title and cls.info.paper and cls.info.runs >= 1
    assert cls.info.keep_first in get_args(End)
    assert cls.info.hard_end is None or cls.info.hard_end in get_args(End)
    assert name not in COLUMN_TYPES, "the column of a score may not be one of the table's own"
    if cls.info.paper.startswith("https://"):
        assert "As in the" in cls.__doc__ or "Departs from the" in cls.__doc__
        assert cls.info.paper in sys.modules[cls.__module__].__doc__


@pytest.mark.parametrize("name", ALL)
def test_it_is_a_frozen_dataclass_of_plain_parameters(name):
    score = SCORES.make(name)
    assert dataclasses.is_dataclass(score) and type(score).__dataclass_params__.frozen
    assert score == SCORES.make(name) and hash(score) == hash(SCORES.make(name))
    for value in parameters(score).values():
        assert value is None or isinstance(value, (int, float, str, bool))


@pytest.mark.parametrize("name", ALL)
def test_recorders_are_fresh_equal_and_within_the_schedule(name):
    score = SCORES.make(name)
    first, second = score.recorders(EPOCHS), score.recorders(EPOCHS)
    assert first == second
    for argument, recorder in first.items():
        assert recorder is not second[argument] and hash(recorder) == hash(second[argument])
        assert recorder.phase in Phase
        assert recorder.epochs is None or recorder.epochs <= frozenset(range(1, EPOCHS + 1))
        assert all(field in Field for field in recorder.fields)


@pytest.mark.parametrize("name", ALL)
def test_it_is_the_same_alone_and_together_whatever_the_batches(name):
    logits = make_logits(EPOCHS)
    (alone,) = compute([name], logits)
    assert alone.shape == (logits.shape[2],) and np.isfinite(alone).all()
    together = compute(ALL, logits)[ALL.index(name)]
    assert np.array_equal(together, alone)
    for size in (1, 3, 31, 100):
        (found,) = compute([name], logits, size=size, seed=size)
        # What goes into a table is float32.
        assert np.array_equal(found.astype(np.float32), alone.astype(np.float32))


@pytest.mark.parametrize("name", ALL)
def test_equal_samples_score_alike_and_a_second_run_is_fresh(name):
    logits = make_logits(EPOCHS)
    info = make_info(EPOCHS)
    first = compute([name, *(other for other in ALL if other != name)], logits, info)[0]
    again = compute([name], logits, info)[0]
    assert np.array_equal(first, again)
