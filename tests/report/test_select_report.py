"""Whole reports, put together from toy tables."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from toy_selection import GROUPS, NAMES, SCORES, toy_selection, toy_table

from dprune_cli.io.run_dir import RunConfig
from dprune_cli.io.table import TableMeta
from dprune_cli.report import figures
from dprune_cli.report.blocks import Grid
from dprune_cli.report.page import render
from dprune_cli.report.select_report import quota_recall, select_report
from dprune_cli.report.train_report import train_report

QUOTA = {"command": "quota", "options": {"by": "class", "recall": [0.5, 0.9, None, None]}}
HISTORY = [{"epoch": 1, "loss": 1.5, "visited": 3, "lr": 0.1, "val_accuracy": 0.25}]
INFINITE = [math.inf, -math.inf] * 7


@pytest.fixture
def quick_plots(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: "<svg></svg>")


def section(report, title):
    (found,) = [one for one in report.sections if one.title == title]
    return found


def recalls_of(report, by):
    (grid,) = [block for block in section(report, f"Kept by {by}").blocks if isinstance(block, Grid)][:1]
    place = [column.name for column in grid.columns].index("recall")
    return [row[place] for row in grid.rows]


@pytest.mark.usefixtures("quick_plots")
def test_the_sections_and_figures_of_a_selection():
    report = select_report(toy_selection())
    assert [one.title for one in report.sections] == [
        "Kept by class",
        "Kept by group",
        "Pictures",
        "Scores",
        "Provenance",
    ]
    assert report.title == "What was kept of T"
    assert report.figures == {
        "kept": "6 of 13",
        "kept fraction": "46.2 %",
        "selected by": "top grade",
        "classes": "3",
        "smallest class": "1 <script>$x^2$",
    }


@pytest.mark.usefixtures("quick_plots")
def test_recalls_are_those_of_the_quotas_unless_others_are_given():
    found = toy_selection(table=toy_table(steps=[QUOTA]))
    report = select_report(found)
    assert report.figures["worst recall"] == "50.0 % ant"
    assert recalls_of(report, "class") == [0.5, 0.9, None, None]
    report = select_report(found, recall={"class": [0.5, 0.25, 1.0, None], "group": [0.1, 0.2]})
    assert report.figures["worst recall"] == "25.0 % <script>$x^2$"
    assert recalls_of(report, "group") == [0.1, 0.2]


def test_recalls_are_those_of_the_strata_that_quotas_were_set_by():
    for by, other in (("class", "group"), ("group", "class")):
        table = toy_table(steps=[{"command": "quota", "options": {"by": by, "recall": [0.5, 0.9]}}])
        assert quota_recall(table, by) == [0.5, 0.9] and quota_recall(table, other) is None


@pytest.mark.usefixtures("quick_plots")
def test_what_was_selected_by_is_the_last_of_all_selections():
    prune = {"command": "prune", "options": {"method": "drop"}}
    select = {"command": "select", "options": {"by": "grade", "pick": "top"}}
    found = toy_selection()
    for steps, said in (([select, prune], "drop"), ([prune, select], "top grade"), ([select], "top grade")):
        meta = dataclasses.replace(found.table.meta, steps=steps)
        one = dataclasses.replace(found, table=found.table.with_meta(meta))
        assert select_report(one).figures["selected by"] == said


@pytest.mark.usefixtures("quick_plots")
def test_the_training_of_a_query_model_is_added():
    commands = [("dprune prune here", "one line")]
    report = select_report(toy_selection(), history=HISTORY, commands=commands, title="Pruned")
    assert report.title == "Pruned"
    assert [block.title for block in section(report, "Training").blocks] == [
        "Loss",
        "Validation",
        "Learning rate",
    ]
    assert section(report, "Provenance").blocks[0].commands == commands


@pytest.mark.usefixtures("quick_plots")
def test_a_run_that_diverged_and_never_visited_anything():
    lost = pa.array([math.nan] * 14, pa.float32())
    table = toy_table(loss=lost, visits=np.zeros(14, int))
    history = [HISTORY[0] | {"loss": math.nan}]
    report = train_report(history, table, RunConfig(model="tiny", classes=NAMES, image_size=8, groups=GROUPS))
    assert report.figures["last loss"] == "nan" and report.figures["validation accuracy"] == "25.0 %"


@pytest.mark.usefixtures("quick_plots")
def test_a_table_just_made_and_the_same_one_from_a_file_have_the_same_page():
    scores = {"margin": {"runs": 2, "parameters": {"z": 1, "a": {"y": 2, "b": 3}}}, "grade": SCORES["grade"]}
    made = {"seed": 3, "by": "grade", "parameters": {"end": "low", "bins": 5}}
    recordings = {"from_trajectory": "t", "from_features": "f"}
    steps = [
        {"command": "score", "options": {"methods": ["aum"], "recordings": recordings}},
        {"command": "select", "options": {"pick": "stratified", **made}},
    ]
    meta = TableMeta(
        classes=NAMES, scores=scores, steps=steps, reading={"label_field": "x", "group_field": "y"}
    )
    read = TableMeta.load(meta.dump(), "T")
    assert json.dumps(read.steps) != json.dumps(steps)
    pages = [render(select_report(toy_selection(table=toy_table(meta=one)))) for one in (meta, read)]
    assert pages[0] == pages[1]


STRANGE = {
    "no labels": {"table": toy_table(drop=("label",))},
    "no group of usable samples": {"table": toy_table(group=pa.array([None] * 14, pa.int32()))},
    "infinite scores": {"table": toy_table(grade=pa.array(INFINITE), margin=pa.array(INFINITE))},
    "only infinite scores": {"table": toy_table(margin=pa.array([math.inf] * 14))},
    "nothing but NaN": {"table": toy_table(margin=pa.array([math.nan] * 14))},
    "whole numbers": {"table": toy_table(grade=pa.array(range(14), pa.int8()))},
    "no metadata": {"table": toy_table(meta=TableMeta(), mine=np.arange(14.0)), "by": "mine"},
    "one kept": {"keep": "1"},
    "all kept": {"keep": "13"},
    "metadata of something else": {
        "table": toy_table(
            {"grade": {"keep_first": 5, "hard_end": [1], "method": {}}, "margin": {"method": 3}},
            steps=[{"command": "quota", "options": {"recall": ["x"], "by": 4}}, {"command": 7}, {}],
        )
    },
    "predictions of other classes": {"table": toy_table(pred=pa.array([99] * 14, pa.int32()))},
    "names that mislead": {
        "table": toy_table(
            meta=TableMeta(
                classes=["\x1b[2J", "\u202eabc", "a\nb", "x" * 3000], groups=["", ""], scores=SCORES
            )
        )
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("what", STRANGE)
def test_strange_tables_have_a_report_too(what):
    page = render(select_report(toy_selection(**STRANGE[what])))
    assert "<script>$" not in page and "\x1b" not in page and "\u202e" not in page
