"""Reports as readers see them, in a real browser."""

from __future__ import annotations

import socket

import pytest
from browser import open_browser
from toy_report import class_gallery, class_grid, jpeg, whole_report

from dprune_cli.report.blocks import Column, Grid, Picture, Report, Section
from dprune_cli.report.page import write_report

EVIL = "<script>document.title='owned'</script>"
NAMES = [
    "cat",
    EVIL,
    "bird 10",
    "bird 9",
    "x" * 500,
    "a very long name of a class " * 5,
    "bad\udcff \u202egpj",
]


@pytest.fixture(scope="session")
def browser():
    with open_browser() as reader:
        yield reader


@pytest.fixture
def reader(browser):
    """The browser; nothing may be complained of on its console, nor asked for but the page."""
    browser.complaints()
    yield browser
    assert browser.complaints() == []
    requests = browser.requests()
    assert len(requests) <= 1 and all(address.startswith("file:///") for address in requests)


def hostile_report():
    rows = [
        [NAMES[0], 9, 0.5, 0.25],
        [NAMES[1], 1200, None, -2.0],
        [NAMES[2], 90, 0.25, None],
        [NAMES[3], 100, 0.5, 1e-7],
        [NAMES[4], 2, 1.0, float("inf")],
        [NAMES[5], 0, 0.0, 30.0],
        [NAMES[6], None, 0.75, 4.0],
    ]
    pictures = [
        Picture(
            key=f"{name}/{kind}",
            name=name,
            kind=kind,
            image=jpeg(number // 2, size),
            facts={"el2n": 0.5, "predicted": NAMES[4]},
        )
        for number, name in enumerate(NAMES[:4])
        for kind, size in [("Hardest kept", 32), ("Easiest dropped", 96)]
    ]
    gallery = class_gallery(NAMES, pictures)
    return whole_report(class_grid(rows, frozenset([1, 4])), gallery, title=EVIL, word=NAMES[4])


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "a report #1.html"
    write_report(hostile_report(), path)
    return path


@pytest.fixture(scope="session")
def long(tmp_path_factory):
    """1,000 rows in no order, every tenth marked."""
    rows = [[f"class {number}", number * 37 % 1000, number / 1000, None] for number in range(1000)]
    path = tmp_path_factory.mktemp("page") / "long.html"
    report = Report(
        title="long",
        figures={},
        sections=[Section(title="s", blocks=[class_grid(rows, frozenset(range(0, 1000, 10)))])],
    )
    write_report(report, path)
    return path


def column(reader, number):
    return reader.texts(f"tbody tr > :nth-child({number})")


def sorting(reader):
    return [heading.get_attribute("aria-sort") for heading in reader.all("thead th")]


def test_a_click_sorts_numbers_as_numbers_and_unknown_ones_last(reader, hostile):
    reader.open(hostile)
    counts = reader.all("thead button")[1]
    counts.click()
    assert column(reader, 2) == ["1,200", "100", "90", "9", "2", "0", "\N{EN DASH}"]
    assert sorting(reader) == ["none", "descending", "none", "none"]
    counts.click()
    assert column(reader, 2) == ["0", "2", "9", "90", "100", "1,200", "\N{EN DASH}"]
    assert sorting(reader) == ["none", "ascending", "none", "none"]
    reader.all("thead button")[3].click()
    assert column(reader, 4) == [
        "∞",
        "30.000",
        "4.000",
        "0.250",
        "1.00e-07",
        "\N{MINUS SIGN}2.000",
        "\N{EN DASH}",
    ]


def test_keys_sort_names_as_people_do_and_rows_of_one_value_stay_in_order(reader, hostile):
    from selenium.webdriver.common.keys import Keys

    reader.open(hostile)
    names = reader.all("thead button")[0]
    names.send_keys(Keys.ENTER)
    shown = column(reader, 1)
    assert shown.index("bird 9") < shown.index("bird 10") < shown.index("cat")
    assert sorting(reader)[0] == "ascending"
    names.send_keys(Keys.SPACE)
    assert column(reader, 1) == shown[::-1] and sorting(reader)[0] == "descending"
    reader.all("thead button")[2].send_keys(Keys.ENTER)
    halves = [
        name
        for name, share in zip(column(reader, 1), column(reader, 3), strict=True)
        if share.startswith("50.0")
    ]
    assert halves == ["cat", "bird 9"] and column(reader, 3)[-1] == "\N{EN DASH}"


def test_in_a_column_of_numbers_and_words_numbers_come_first_and_what_is_unknown_last(reader, tmp_path):
    columns = [Column(name="class"), Column(name="best", kind="count")]
    rows = [["a", None], ["b", "few"], ["c", 3], ["d", None], ["e", "all"], ["f", 10]]
    grid = Grid(title="Mixed", columns=columns, rows=rows)
    write_report(
        Report(title="t", figures={}, sections=[Section(title="s", blocks=[grid])]), tmp_path / "r.html"
    )
    reader.open(tmp_path / "r.html")
    reader.all("thead button")[1].click()
    assert "".join(column(reader, 1)) == "fcbead"
    reader.all("thead button")[1].click()
    assert "".join(column(reader, 1)) == "cfebad"


def test_marks_go_with_their_rows(reader, hostile):
    reader.open(hostile)
    reader.all("thead button")[3].click()
    marked = reader.all("tr.marked .name")
    assert [name.text.split("\n")[0][:8] for name in marked] == [NAMES[4][:8], EVIL[:8]]
    assert len(reader.all("tr.marked [role=img][aria-label='needs a second look']")) == 2


def test_long_grids_show_their_first_rows_until_they_are_asked_for_more(reader, long):
    reader.open(long)
    assert len(column(reader, 1)) == 25
    reader.all("thead button")[1].click()
    assert column(reader, 2)[:3] == ["999", "998", "997"] and len(column(reader, 2)) == 25
    more = reader.one(".more")
    more.click()
    assert len(column(reader, 1)) == 1000 and more.get_attribute("aria-expanded") == "true"
    more.click()
    assert len(column(reader, 1)) == 25 and more.text == "Show all 1,000 rows"


def test_rows_are_found_by_their_names(reader, long):
    from selenium.webdriver.common.keys import Keys

    reader.open(long)
    field = reader.one("input[type=search]")
    field.send_keys(" CLASS 99")
    assert column(reader, 1) == ["class 99", *(f"class {number}" for number in range(990, 1000))]
    assert reader.one("output").text == "11 of 1,000 rows"
    reader.all("thead button")[1].click()
    assert column(reader, 1)[0] == "class 999" and len(column(reader, 1)) == 11
    field.send_keys(Keys.BACKSPACE * 9)
    assert len(column(reader, 1)) == 25 and reader.one("output").text == "1,000 rows"
    # Not only by how they begin.
    field.send_keys("ss 99")
    assert len(column(reader, 1)) == 11


def pictures(reader):
    """Alt texts of the pictures that are shown, once all of them have been decoded."""
    return reader.driver.execute_async_script(
        """
        const done = arguments[0];
        const shown = Array.from(document.images).filter((image) => image.checkVisibility());
        shown.forEach((image) => { image.loading = "eager"; });
        Promise.all(shown.map((image) => image.decode().then(() => [image.alt, image.naturalWidth,
          getComputedStyle(image).imageRendering, image.getBoundingClientRect().width]))).then(done, done);
        """
    )


def test_a_chosen_class_shows_its_pictures(reader, hostile):
    from selenium.webdriver.support.select import Select

    def names():
        return [name for name, *_ in pictures(reader)]

    reader.open(hostile)
    assert names() == ["cat", "cat"]
    choice = Select(reader.one(".gallery select"))
    choice.select_by_visible_text("bird 9")
    assert names() == ["bird 9", "bird 9"] and reader.texts(".gallery h4") == ["bird 9"]
    # Tiny ones are enlarged with their pixels as they are; none is blown up beyond the others.
    assert [rest for _, *rest in pictures(reader)] == [[32, "pixelated", 128], [96, "auto", 128]]
    reader.all(".gallery [data-step]")[0].click()
    assert names() == ["bird 10", "bird 10"]
    reader.all(".gallery [data-step]")[1].click()
    assert names() == ["bird 9", "bird 9"]
    choice.select_by_index(6)
    assert names() == [] and reader.texts(".gallery .nothing") == ["No pictures."]
    assert not reader.all(".gallery [data-step]")[1].is_enabled()


def test_a_class_in_the_grid_leads_to_its_pictures(reader, hostile):
    reader.open(hostile)
    links = {link.text: link for link in reader.all("tbody a")}
    links[EVIL].click()
    assert reader.texts(".gallery h4") == [EVIL] and len(pictures(reader)) == 2
    assert 0 <= reader.run("return document.querySelector('.chosen').getBoundingClientRect().top") < 100
    reader.driver.back()
    links["bird 9"].click()
    assert reader.texts(".gallery h4") == ["bird 9"]
    ids = reader.run("return Array.from(document.querySelectorAll('[id]'), (one) => one.id)")
    assert len(ids) == len(set(ids))


def test_names_are_no_markup(reader, hostile):
    reader.open(hostile)
    assert reader.driver.title == EVIL and reader.texts("h1") == [EVIL]
    assert EVIL in column(reader, 1)
    assert "bad\\udcff \\u202egpj" in column(reader, 1)
    assert reader.run("return document.scripts.length") == 1


# Elements beyond the edges of the page; what scrolls within a box is left out.
BEYOND = """
const beyond = ({ left, right }) => left < 0 || right > innerWidth + 0.5;
const found = Array.from(document.querySelectorAll("body *")).filter((one) =>
  one.checkVisibility() && !one.closest(".box *, option") && beyond(one.getBoundingClientRect()));
return [document.documentElement.scrollWidth, found.map((one) => one.outerHTML.slice(0, 80))];
"""

# How many texts there are, the least contrast of one with what is behind it, that text, and how light the
# page is; as the Web Content Accessibility Guidelines have them.
CONTRAST = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const light = (colour) => {
  const [red, green, blue] = parts(colour).map((part) => linear(part / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ground = (one) => {
  const colour = getComputedStyle(one).backgroundColor;
  return (parts(colour)[3] ?? 1) > 0 ? colour : ground(one.parentElement);
};
const ink = (one) => getComputedStyle(one)[one.closest("svg") ? "fill" : "color"];
const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "";
const found = [];
for (const one of document.querySelectorAll("body *")) {
  if (!Array.from(one.childNodes).some(isText) || !one.checkVisibility() || one.disabled) continue;
  const [dark, bright] = [light(ground(one)), light(ink(one))].sort((one, other) => one - other);
  found.push([(bright + 0.05) / (dark + 0.05), one.textContent]);
}
found.sort((one, other) => one[0] - other[0]);
return [found.length, ...found[0], light(ground(document.body))];
"""


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_wider_than_the_page_and_all_text_can_be_read(reader, hostile, width, dark):
    reader.open(hostile, width=width, dark=dark)
    assert reader.run(BEYOND) == [width, []]
    texts, least, text, ground = reader.run(CONTRAST)
    assert texts > 60 and least >= 4.5, text
    assert ground < 0.05 if dark else ground > 0.8


def test_on_paper_it_is_light_and_as_wide_as_the_paper(reader, hostile):
    reader.open(hostile, width=720, dark=True, media="print")
    assert reader.run("return document.documentElement.scrollWidth") == 720
    _, least, text, ground = reader.run(CONTRAST)
    assert least >= 4.5 and ground > 0.95, text
    assert reader.texts(".controls, nav") == [] and len(column(reader, 1)) == len(NAMES)


def test_a_click_on_a_command_selects_it_as_it_was_typed(reader, hostile):
    reader.open(hostile, width=360)
    reader.one("code").click()
    assert reader.run("return String(getSelection())") == f"dprune score \\\n  '{NAMES[4]}'"


def test_boxes_scroll_beside_the_names_of_rows(reader, hostile):
    reader.open(hostile, width=240)
    moved, name = reader.run(
        "const box = document.querySelector('.grid .box'); box.scrollLeft = 60;"
        "const left = (one) => one.getBoundingClientRect().left;"
        "return [box.scrollLeft, left(document.querySelector('tbody th')) - left(box)]"
    )
    assert moved == 60 and abs(name) < 1
    reader.open(hostile, width=360)
    scrolls = "const plot = document.querySelector('.plot .box'); return plot.scrollWidth > plot.clientWidth"
    assert not reader.run(scrolls)
    # Where the text of a plot would be too small to read, it is not made smaller still.
    reader.open(hostile, width=280)
    assert reader.run(scrolls)


def test_without_scripts_everything_is_there(reader, hostile, long):
    reader.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        reader.open(hostile)
        assert reader.texts(".controls") == []
        assert len(reader.texts(".gallery h4")) == len(NAMES) and len(column(reader, 1)) == len(NAMES)
        # A picture that is there already is a link to it.
        assert reader.run("return document.images.length") == 4
        assert reader.texts(".again") == ["shown above already"] * 4
        reader.open(long)
        assert len(column(reader, 1)) == 1000
    finally:
        reader.send("Emulation.setScriptExecutionDisabled", value=False)


REFUSED = """
const [port, done] = arguments, refused = [];
document.addEventListener("securitypolicyviolation", (event) => {
  refused.push(event.effectiveDirective);
  if (refused.length === 3) done(refused.sort());
});
const add = (name, content) => document.body.append(Object.assign(document.createElement(name), content));
add("img", { src: `http://127.0.0.1:${port}/` });
add("script", { text: "document.title = 'x'" });
fetch(`http://127.0.0.1:${port}/`).catch(() => {});
"""


def test_the_browser_itself_refuses_requests_and_other_scripts(browser, hostile):
    browser.open(hostile)
    with socket.create_server(("127.0.0.1", 0)) as server:
        refused = browser.driver.execute_async_script(REFUSED, server.getsockname()[1])
        assert refused == ["connect-src", "img-src", "script-src-elem"]
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert browser.driver.title == EVIL
    assert {entry["level"] for entry in browser.complaints()} == {"SEVERE"}
