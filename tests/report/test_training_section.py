"""What a report shows of the history of a run."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from toy_selection import toy_table

from dprune_cli.report.training_section import training_section

NAMES = {"class": ["ant", "bee"], "group": ["land", "water"]}


def history(epochs=3, **columns):
    return [
        {"epoch": epoch + 1, "loss": 2.0 - epoch / 4, "visited": 10, "lr": 0.1, "class_visited": [6, 4]}
        | {name: values[epoch] for name, values in columns.items()}
        for epoch in range(epochs)
    ]


def titles(section):
    return [block.title for block in section.blocks]


def test_a_plain_run_has_loss_and_learning_rate():
    assert titles(training_section(history(), None, NAMES)) == ["Loss", "Learning rate"]
    assert training_section([], None, NAMES) is None


def test_validation_has_two_lines_with_gaps_where_it_is_not_known():
    rows = history(val_accuracy=[None, 0.5, 0.6], val_worst_class=[None, 0.1, 0.2])
    section = training_section(rows, None, NAMES)
    assert titles(section) == ["Loss", "Validation", "Learning rate"]
    assert ">worst class<" in section.blocks[1].svg


def test_budgets_of_a_sampler_are_lines_of_few_classes_with_their_names():
    rows = history(class_visited=[[6, 4], [5, 5], [3, 7]], class_error=[None, [0.1, 0.5], [0.2, 0.4]])
    section = training_section(rows, None, NAMES)
    assert titles(section)[2:] == ["Visits by class", "Error by class"]
    assert ">ant<" in section.blocks[2].svg and "<image" not in section.blocks[2].svg


def test_budgets_of_many_classes_are_a_picture():
    visits = [np.arange(100) + epoch for epoch in range(3)]
    section = training_section(history(class_visited=[own.tolist() for own in visits]), None, {})
    assert "<image" in section.blocks[2].svg and "class id" in section.blocks[2].svg


def test_budgets_of_groups_and_epochs_of_other_lengths():
    rows = history(group_visited=[[1, 2], [2, 1], [3, 0]], visited=[3, 5, 9])
    assert titles(training_section(rows, None, NAMES))[2:] == ["Visited samples", "Visits by group"]


def test_a_run_of_one_epoch():
    assert len(training_section(history(1), None, NAMES).blocks) == 2


def test_visits_of_the_samples():
    visits = pa.array([0, 0, 1, 2] + [3] * 10, pa.int32())
    section = training_section(history(), toy_table(visits=visits), NAMES)
    assert titles(section)[-1] == "Visits of a sample"
    assert section.blocks[-1].caption == "2 of 14 samples of the table were never visited."
