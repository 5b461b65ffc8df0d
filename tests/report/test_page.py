from __future__ import annotations

import base64
import hashlib
import re
import sys
from html.parser import HTMLParser

import pytest
from toy_report import SVG, class_gallery, class_grid, jpeg, whole_report

from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.report.blocks import Column, Grid, Picture, Report, Section
from dprune_cli.report.page import check_report, render, write_report
from dprune_cli.report.views import draw_cell, draw_grid, draw_sections
from dprune_cli.report.wording import visible, written

VOID = {"meta", "link", "img", "input", "br", "path"}


class Reading(HTMLParser):
    """Elements of a page, and whether every one is closed where it should be."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def picture(name, kind="Hardest kept", seed=0, key="k", **facts):
    return Picture(key=key, name=name, kind=kind, image=jpeg(seed, 8), facts=facts)


def small_report(**parts):
    grid = class_grid([["cat", 12345, 0.5, 0.25], ["dog", 3, None, -1.5]], frozenset([1]))
    gallery = class_gallery(["cat", "dog"], [picture("cat", el2n=0.75), picture("dog", seed=1)])
    return whole_report(grid, gallery, **parts)


EVIL = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "a&amp;b</script><!--",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
    "x" * 1000,
]


@pytest.mark.parametrize("word", EVIL, ids=range(len(EVIL)))
def test_text_from_data_is_text_wherever_it_stands(word):
    grid = Grid(
        title=word,
        caption=word,
        columns=[Column(name="class"), Column(name=word, kind="count"), Column(name=f"{word}2")],
        rows=[[word, 3, word], ["cat", word, None]],
        marked=frozenset([0]),
    )
    gallery = class_gallery([word, "cat"], [picture(word, key=word, **{word: word})])
    reading = Reading(render(whole_report(grid, gallery, title=word, word=word)))
    assert [tag for tag, _ in reading.elements].count("script") == 1
    assert len([tag for tag, _ in reading.elements if tag == "img"]) == 1
    assert not [name for _, attributes in reading.elements for name in attributes if name.startswith("on")]
    shown = reading.texts + reading.attributes("title")
    assert word in shown and f"Scores {word}." in shown and word in reading.attributes("alt")


def test_signs_that_mislead_or_cannot_be_written_are_written_out(tmp_path):
    word = "a\u202eb\x00c\nd\udcff\u2028\x1b[2Je"
    plain = "a\\u202eb\\x00c\\nd\\udcff\\u2028\\x1b[2Je"
    gallery = class_gallery([word], [picture(word, key=word)])
    # An SVG is not escaped, so only its halves of surrogate pairs are written out.
    report = whole_report(class_grid([[word, 1, 0.5, 2.0]]), gallery, svgs=[SVG.replace("loss", "\udcff")])
    write_report(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_bytes().decode("utf-8")
    assert page.count(plain) == 5 and "\\udcff</text>" in page
    assert not re.search("[\u202a-\u202e\u2028\x00\x1b\r]", page)
    assert visible("日本語 שלום é 👍\N{NO-BREAK SPACE}%") == "日本語 שלום é 👍\N{NO-BREAK SPACE}%"


def test_commands_keep_their_lines_so_that_they_can_be_copied():
    assert "<span>score</span> <span>\\</span>\n  <span>&#39;x&#39;</span></code>" in render(small_report())


def test_the_page_allows_our_script_alone_and_no_requests():
    reading = Reading(render(small_report()))
    policy = next(one["content"] for _, one in reading.elements if "http-equiv" in one)
    script = next(text for text in reading.texts if text.startswith('"use strict"'))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:" and "connect-src" not in rules and "font-src" not in rules
    addresses = reading.attributes("src") + reading.attributes("href")
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)


def test_links_lead_to_elements_and_ids_are_there_once():
    reading = Reading(render(small_report()))
    ids = reading.attributes("id")
    assert len(ids) == len(set(ids))
    links = [link for link in reading.attributes("href") if link.startswith("#")]
    assert {link[1:] for link in links} <= set(ids)
    assert {"#gallery-1-1", "#gallery-1-2", "#section-3"} <= set(links)


def test_values_are_written_for_people_and_kept_for_sorting():
    page = render(small_report())
    assert 'data-value="12345" style="--share:1.000">12,345</td>' in page
    assert 'data-value="0.5" style="--share:0.500">50.0\N{NO-BREAK SPACE}%</td>' in page
    assert '<td class="number" data-value="-1.5">\N{MINUS SIGN}1.500</td>' in page
    assert '<td class="fraction" data-value="">\N{EN DASH}</td>' in page


@pytest.mark.parametrize(
    ("value", "kind", "text", "plain", "bar"),
    [
        (3, "count", "3", "3", "0.300"),
        (20, "count", "20", "20", "1.000"),
        (-1, "count", "\N{MINUS SIGN}1", "-1", "0.000"),
        (0.12345, "fraction", "12.3\N{NO-BREAK SPACE}%", "0.12345", "0.012"),
        (float("nan"), "number", "\N{EN DASH}", "", None),
        (float("-inf"), "number", "\N{MINUS SIGN}\N{INFINITY}", "-Infinity", "0.000"),
        (1e-7, "number", "1.00e-07", "1e-07", "0.000"),
        (1234.56, "number", "1,234.6", "1234.56", "1.000"),
        ("many", "count", "many", None, None),
        (7, "text", "7", None, None),
        (None, "text", "\N{EN DASH}", "", None),
    ],
)
def test_a_cell_has_text_a_value_and_a_bar(value, kind, text, plain, bar):
    cell = draw_cell(value, Column(name="c", kind=kind, bar=True), longest=10)
    assert (cell.text, cell.value, cell.bar) == (text, plain, bar)


def test_a_bar_of_a_fraction_is_of_one_and_of_a_count_of_the_largest():
    columns = [
        Column(name="c"),
        Column(name="n", kind="count", bar=True),
        Column(name="f", kind="fraction", bar=True),
    ]
    drawn = draw_grid(Grid(title="t", columns=columns, rows=[["a", 5, 0.5], ["b", 20, 0.2]]), {})
    assert [[cell.bar for cell in row.cells] for row in drawn.rows] == [
        [None, "0.250", "0.500"],
        [None, "1.000", "0.200"],
    ]
    zeros = draw_grid(Grid(title="t", columns=columns, rows=[["a", 0, None]]), {})
    assert [cell.bar for cell in zeros.rows[0].cells] == [None, "0.000", None]


def test_whole_numbers_in_facts_are_written_plainly_and_truth_as_words():
    assert [written(value, "number") for value in (12345, True, False, 0.5, None)] == [
        "12345",
        "yes",
        "no",
        "0.500",
        "\N{EN DASH}",
    ]


def test_a_picture_is_on_the_page_once_and_others_refer_to_it():
    pictures = [
        picture("cat", key="one"),
        picture("cat", "Easiest dropped", key="two"),
        picture("dog", seed=5),
    ]
    page = render(whole_report(class_grid([]), class_gallery(["cat", "dog"], pictures)))
    assert page.count(base64.b64encode(jpeg(0, 8)).decode()) == 1
    assert 'href="#picture-1" data-alt="cat"' in page and 'id="picture-2"' in page


def test_pictures_stand_by_name_and_kind_in_their_order():
    pictures = [
        picture("dog", "Easiest dropped", 1, "d1"),
        picture("cat", "Easiest dropped", 2, "c2"),
        picture("cat", "Hardest kept", 3, "c3"),
        picture("cat", "Easiest dropped", 4, "c1"),
    ]
    report = whole_report(class_grid([]), class_gallery(["cat", "dog", "empty"], pictures))
    gallery = draw_sections(report)[1].blocks[0]
    found = [
        (part.name, kind, [one.picture.key for one in shown])
        for part in gallery.names
        for kind, _, shown in part.kinds
    ]
    assert found == [
        ("cat", "Hardest kept", ["c3"]),
        ("cat", "Easiest dropped", ["c2", "c1"]),
        ("dog", "Easiest dropped", ["d1"]),
    ]
    assert "No pictures." in render(report)


def test_rows_link_to_the_gallery_of_their_own_kind():
    grid = class_grid([["cat", 1, 0.5, 1.0], ["fish", 1, 0.5, 1.0]])
    by_group = Grid(title="Groups", columns=[Column(name="Group")], rows=[["cat"]])
    gallery = class_gallery(["cat"], [])
    links = {("class", "cat"): "gallery-1-1", ("group", "cat"): "gallery-2-1"}
    assert [row.link for row in draw_grid(grid, links).rows] == ["gallery-1-1", None]
    assert [row.link for row in draw_grid(by_group, links).rows] == ["gallery-2-1"]
    sections = [Section(title="s", blocks=[grid, gallery, by_group])]
    assert render(Report(title="t", figures={}, sections=sections)).count('href="#gallery-1-1"') == 1


def test_blocks_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="Classes: every row needs 4 values"):
        render(whole_report(class_grid([["cat", 1, 0.5]]), class_gallery([], [])))
    for wrong in (picture("fish"), picture("cat", "Strangest")):
        with pytest.raises(ValueError, match="Samples: no class"):
            render(whole_report(class_grid([]), class_gallery(["cat"], [wrong])))


def test_an_empty_report_is_a_page():
    reading = Reading(render(Report(title="nothing", figures={}, sections=[])))
    assert "nothing" in reading.texts and "nav" not in [tag for tag, _ in reading.elements]
    reading = Reading(render(whole_report(class_grid([]), class_gallery([], []))))
    assert reading.texts.count("Nothing to show.") == 2
    assert not {"table", "select"} & {tag for tag, _ in reading.elements}


def test_the_same_report_is_the_same_page():
    assert render(small_report()) == render(small_report())


def test_a_report_of_1000_classes_has_less_than_5_mb(tmp_path):
    names = [f"n{number:08d} some class, or {number}" for number in range(1000)]
    noise = jpeg(0, 64)
    pictures = [
        Picture(
            key=f"train/{names[number % 400]}/{number:012d}",
            name=names[number % 400],
            kind=["Hardest kept", "Easiest dropped"][number % 2],
            image=number.to_bytes(4, "big") + noise[:2044],
            facts={"el2n": number / 1201, "aum": -number / 77, "predicted": names[number % 7]},
        )
        for number in range(1200)
    ]
    rows = [[name, 1300 - number, number / 1001, number / 77] for number, name in enumerate(names)]
    # As many bytes as a plot of 1,000 points has.
    svg = SVG.replace("<text", '<g><path d="M 123.456 78.901 L 234.567 89.012"/></g>' * 1000 + "<text")
    report = whole_report(class_grid(rows), class_gallery(names, pictures), svgs=[svg] * 12)
    write_report(report, tmp_path / "r.html")
    assert 3_000_000 < (tmp_path / "r.html").stat().st_size < 5_000_000


def test_a_report_is_written_whole_and_over_another_only_by_force(tmp_path):
    path = tmp_path / "new" / "r.html"
    write_report(small_report(), path)
    first = path.read_bytes()
    assert first.startswith(b"<!DOCTYPE html>") and first.endswith(b"</html>\n")
    with pytest.raises(UsageError, match="exists already; give --force"):
        write_report(small_report(title="two"), str(path))
    write_report(small_report(title="two"), str(path), force=True)
    assert b"<title>two</title>" in path.read_bytes() and [one.name for one in path.parent.iterdir()] == [
        "r.html"
    ]


def test_reports_that_could_not_be_written_are_refused_before_any_work(tmp_path, monkeypatch):
    taken = tmp_path / "r.html"
    taken.write_text("old")
    with pytest.raises(UsageError, match="exists already; give --force"):
        check_report(taken, force=False)
    assert check_report(taken, force=True) == taken.resolve()
    with pytest.raises(UsageError, match=r"a report is a file .* not -"):
        check_report("-", force=True)
    with pytest.raises(UsageError, match="is a folder"):
        check_report(tmp_path, force=True)
    with pytest.raises(DpruneError, match="is a file, not a folder"):
        check_report(taken / "r.html", force=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="a report needs matplotlib; pip install matplotlib"):
        check_report(tmp_path / "new.html", force=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="needs jinja2 and matplotlib; pip install jinja2 matplotlib"):
        check_report(tmp_path / "new.html", force=False)
