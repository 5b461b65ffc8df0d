"""Plots as parts of a page: what data can do to them, and what they do to the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from dprune_cli.report import figures

# Markup, a formula, letters that matplotlib's font lacks, a control sign, half of a surrogate pair.
NAMES = ["<script>$x^2$", "&\"']]>", "日本 🐈", "c\x1b\ud800", "$\\frac{1}{$"]


def draw_all():
    count = len(NAMES)
    values = np.linspace(-1, 1, count * count).reshape(count, count)
    counts = {NAMES[0]: np.array([3, 2]), NAMES[2]: np.array([1, 1])}
    return [
        figures.scatter(np.arange(count), np.arange(count), (NAMES[0], NAMES[1]), NAMES),
        figures.histogram(np.array([0.0, 1, 2]), counts, NAMES[0], [0.5], "low"),
        figures.lines([1, 2], [(name, [0.0, 1.0]) for name in NAMES], ("epoch", NAMES[4])),
        figures.heat_map(values, NAMES, (-1, 1), diverging=True),
        figures.class_epochs(values, range(1, count + 1), NAMES[0]),
    ]


@pytest.fixture(scope="module")
def drawn():
    return draw_all()


def test_names_are_text_and_never_markup_or_formulas(drawn):
    for svg in drawn:
        assert "<script" not in svg
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
        assert tags <= {
            "svg",
            "g",
            "path",
            "defs",
            "use",
            "text",
            "clipPath",
            "rect",
            "image",
            "linearGradient",
        }
    texts = [
        element.text for element in ElementTree.fromstring(drawn[0]).iter() if element.tag.endswith("text")
    ]
    assert {"<script>$x^2$", "&\"']]>", "日本 🐈", "c\ufffd\ufffd"} <= set(texts)


def test_a_plot_brings_no_colour_font_or_size_of_its_own_for_text(drawn):
    for svg in drawn:
        assert svg.startswith("<svg ") and svg.endswith("</svg>")
        assert "currentColor" in svg and "#010203" not in svg and "#000000" not in svg
        assert "DejaVu" not in svg and "font-family: inherit" in svg
        assert 'width="100%"' in svg and "<style" not in svg and "<metadata" not in svg


def test_a_plot_asks_for_nothing_from_elsewhere(drawn):
    for svg in drawn:
        links = re.findall(r'(?:href="|url\()([^")]*)', svg)
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_identifiers_are_unique_on_a_page_and_referred_to(drawn):
    page = "".join(drawn)
    found = re.findall(r'\bid="([^"]*)"', page)
    assert len(set(found)) == len(found)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', page)) == set(found)


def test_the_same_values_give_the_same_bytes_and_settings_stay_as_they_were(drawn):
    before = dict(matplotlib.rcParams)
    assert draw_all() == drawn
    assert dict(matplotlib.rcParams) == before


def test_the_hard_end_and_the_cut_are_said():
    edges, counts = np.array([0.0, 1, 2]), {"all": np.array([3, 2]), "kept": np.array([0, 2])}
    assert "el2n (hard →)" in figures.histogram(edges, counts, "el2n", [1.0], "high")
    assert "(← hard) aum" in figures.histogram(edges, counts, "aum", [], "low")
    assert ">cut<" in figures.histogram(edges, counts, "x", [1.0, 1.5])
    assert ">cuts<" in figures.histogram(edges, counts, "x", [0.5, 1.0, 1.5])
    assert "cut" not in figures.histogram(edges, counts, "x")


def test_points_and_cells_without_a_value_are_left_out():
    svg = figures.scatter([0.1, np.nan], [0.2, 0.3], ("a", "b"), ["here", "nowhere"])
    assert ">here<" in svg and "nowhere" not in svg
    svg = figures.heat_map(np.array([[1, np.nan], [-0.001, 1]]), ["a", "b"], (-1, 1), diverging=True)
    assert svg.count(">1.00<") == 2 and "nan" not in svg and "-0.00" not in svg


def test_long_names_are_shortened():
    svg = figures.lines([1], [("x" * 500, [1]), ("y", [2])], ("epoch", "loss"))
    assert "x" * 100 not in svg


def test_names_that_look_like_markup_of_a_plot_are_kept_as_they_are():
    names = ["font-family: a", ' id="q"', "#010203", "url(#x)", 'href="#x"', "<metadata>"]
    svg = figures.lines([1, 2], [(name, [0.0, 1.0]) for name in names], ("epoch", "loss"))
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert set(names) <= set(texts)


def test_settings_of_the_user_change_nothing():
    before = figures.lines([1, 2], [("a", [0.0, 1.0])], ("epoch", "loss"))
    user = {"text.usetex": True, "font.size": 60, "axes.labelsize": 60, "font.family": "serif"}
    with matplotlib.rc_context(user):
        assert figures.lines([1, 2], [("a", [0.0, 1.0])], ("epoch", "loss")) == before
        assert matplotlib.rcParams["text.usetex"]
