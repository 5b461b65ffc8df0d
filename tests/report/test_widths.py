"""How grids use the width they have, in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
from browser import open_browser

from dprune_cli.metrics.coverage import Coverage
from dprune_cli.report.blocks import Report
from dprune_cli.report.kept_section import kept_section
from dprune_cli.report.page import write_report
from dprune_cli.stages.select import Left

LONG = ["Great crested flycatcher (juvenile plumage)", "Pileated woodpecker seen from behind"]
SHORT = ["cat", "automobile"]

# Right ends of the headings as parts of the width of the box they stand in, and heights of the rows.
_MEASURE = """
const box = document.querySelector(".box").getBoundingClientRect();
const place = (one) => one.getBoundingClientRect();
return [
  Array.from(document.querySelectorAll("thead th"), (one) => (place(one).right - box.left) / box.width),
  Array.from(document.querySelectorAll("tbody tr"), (one) => place(one).height),
];
"""


@pytest.fixture(scope="module")
def browser():
    with open_browser() as reader:
        yield reader


@pytest.fixture(params=[LONG, SHORT], ids=["long", "short"])
def page(request, tmp_path):
    left = Left("class", request.param, Coverage(np.array([300, 1200]), np.array([100, 500])), None)
    report = Report(title="widths", figures={}, sections=[kept_section(left, [0.5, 0.25])])
    write_report(report, tmp_path / "page.html")
    return tmp_path / "page.html"


def test_a_wide_grid_fills_most_of_its_block_and_names_stand_on_one_line(browser, page):
    browser.open(page, width=1400)
    ends, heights = browser.run(_MEASURE)
    assert 0.7 < ends[-1] <= 1.001
    assert max(heights) < 40


def test_a_phone_shows_what_was_kept_and_how_well_it_is_known_beside_any_name(browser, page):
    browser.open(page, width=360)
    assert browser.texts("thead th") == ["class", "kept", "density", "recall", "available"]
    ends, _ = browser.run(_MEASURE)
    assert ends[3] <= 1.0
