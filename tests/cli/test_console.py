"""What is drawn on a terminal, and what goes elsewhere: bars, lines, tables, colours."""

from __future__ import annotations

import io
import os

import pytest

from dprune_cli.cli.bars import Bars, Work, draw_bars
from dprune_cli.cli.console import Terminal, bars_end_here
from dprune_cli.cli.options import Talk
from dprune_cli.cli.screen import Screen, cells, cut
from dprune_cli.cli.tables import ALL, choose_rows, lay_out
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import BYTES, EPOCHS


class Stream(io.StringIO):
    """A stream that may claim to be a terminal."""

    encoding = "utf-8"

    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def show(text, width=80):
    """The rows of a terminal after a text with the few control sequences that bars use."""
    rows, row, column = [""], 0, 0
    position = 0
    while position < len(text):
        sign = text[position]
        if text.startswith("\x1b[J", position):
            rows = [*rows[:row], rows[row][:column]]
            position += 3
        elif sign == "\x1b":
            end = next(place for place in range(position + 2, len(text)) if text[place].isalpha())
            if text[end] == "A":
                row -= int(text[position + 2 : end])
            position = end + 1
        else:
            position += 1
            if sign == "\n" or (sign != "\r" and column == width):
                row, column = row + 1, 0
                rows += [""] * (row == len(rows))
            if sign == "\r":
                column = 0
            elif sign != "\n":
                rows[row] = rows[row][:column].ljust(column) + sign + rows[row][column + 1 :]
                column += 1
    return rows


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def drawn(plain_environment):
    """Bars on a terminal of 80 columns, their stream and their clock."""
    plain_environment.setattr(Screen, "columns", lambda self: 80)
    stream, clock = Stream(True), Clock()
    return Bars(Screen(stream), clock), stream, clock


@pytest.fixture
def terminal(plain_environment):
    """A `Terminal` on a stream."""

    def make(*, live=False, quiet=False, verbose=False, **variables):
        for name, value in variables.items():
            plain_environment.setenv(name, value)
        stream = Stream(live)
        plain_environment.setattr("sys.stderr", stream)
        return Terminal(Talk(quiet=quiet, verbose=verbose)), stream

    return make


def work(done, total, *, seconds=0.0, what="copy", unit="samples"):
    made = Work(what, unit)
    made.advance(0.0, 0, total)
    if seconds:
        made.advance(seconds, done, total)
    made.done = done
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (work(12_800, 45_000, seconds=2.56), ["12,800/45,000", "28 %", "5,000 samples/s", "0:06 left"]),
        (work(3, 30, seconds=600, unit=EPOCHS), ["3/30 epochs", "10 %", "200 s/epoch", "1:30:00 left"]),
        (work(5, 10, seconds=2, unit=EPOCHS), ["5/10 epochs", "50 %", "2.5 epochs/s", "0:02 left"]),
        (
            work(1_200_000_000, 3_400_000_000, seconds=10, unit=BYTES),
            ["1.2/3.4 GB", "35 %", "120 MB/s", "0:18 left"],
        ),
        (work(999, 1000), ["999/1,000", "99 %", "", ""]),
        (work(0, 0), ["0/0", "100 %", "", ""]),
    ],
)
def test_counts_are_human(made, said):
    now = made._last
    assert [made.counts(), made.percent(), made.speed(), made.left(now)] == said


def test_the_rate_is_that_of_late():
    made = Work("train", EPOCHS)
    for second in range(100):
        made.advance(float(second), min(second, 50) + 10 * max(second - 50, 0), 1000)
    assert made.rate() == pytest.approx(10)
    resumed = Work("train", EPOCHS)
    resumed.advance(0.0, 90, 100)
    resumed.advance(10.0, 95, 100)
    assert resumed.rate() == 0.5 and resumed.remaining(14.0) == 6.0


@pytest.mark.parametrize("width", [12, 20, 39, 79, 199])
def test_bars_fit_every_width(width):
    works = [
        work(3, 30, seconds=9, what="train", unit=EPOCHS),
        work(12_800, 45_000, seconds=2, what="epoch 4/30"),
    ]
    lines = ["".join(line) for line in draw_bars(works, 9.0, width)]
    assert all(cells(line) <= width for line in lines)
    assert "28 %" in lines[1] or "12,800/45,000" in lines[1]
    assert ("━" in lines[1]) == (width >= 20) and ("6,400 samples/s" in lines[1]) == (width >= 79)
    assert all(len(line) <= 90 for line in lines)
    assert all("".join(line).isascii() for line in draw_bars(works, 9.0, width, plain=True)) or width < 39


def test_bars_are_drawn_below_what_is_said_and_go(drawn):
    bars, stream, clock = drawn
    outer, inner = bars.begin("train", EPOCHS), bars.begin("epoch 1/2", "samples")
    bars.advance(outer, 0, 2)
    bars.advance(inner, 10, 100)
    assert stream.getvalue() == ""  # what is over at once does not flash
    clock.now = 1.0
    bars.advance(inner, 50, 100)
    rows = show(stream.getvalue())
    assert len(rows) == 2 and rows[0].startswith("train") and "50/100" in rows[1]
    bars.say("warning: look")
    rows = show(stream.getvalue())
    assert rows[0] == "warning: look" and len(rows) == 3 and "50/100" in rows[2]
    bars.end(inner)
    bars.end(outer)
    bars.say("done")
    assert show(stream.getvalue()) == ["warning: look", "done", ""]
    assert "\x1b[?25l" not in stream.getvalue()  # the cursor is never hidden


def test_a_narrower_window_leaves_nothing_of_a_bar(drawn, monkeypatch):
    bars, stream, clock = drawn
    task = bars.begin("copy", "samples")
    clock.now = 1.0
    bars.advance(task, 1, 1000)
    clock.now = 2.0
    bars.advance(task, 500, 1000)
    (row,) = show(stream.getvalue())
    monkeypatch.setattr(Screen, "columns", lambda self: 20)
    stream.seek(stream.truncate(0))
    bars.end(task)
    before = [row[start : start + 20] for start in range(0, len(row), 20)]
    after = show("\n".join(["said before", *before]) + stream.getvalue(), 20)
    assert after == ["said before", ""]


def test_other_places_get_a_line_every_five_seconds(plain_environment):
    stream, clock = Stream(False), Clock()
    bars = Bars(Screen(stream), clock)
    outer, inner = bars.begin("train", EPOCHS), bars.begin("epoch 1/2", "samples")
    bars.advance(outer, 0, 2)
    for second in range(12):
        clock.now = float(second)
        bars.advance(inner, 10 * second, 120)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0] == ("train: 0 of 2 epochs (0 %); epoch 1/2: 50 of 120 (41 %), 10 samples/s, 0:07 left")


def test_bars_end_with_the_command(terminal, monkeypatch):
    monkeypatch.setattr(Screen, "columns", lambda self: 80)
    says, stream = terminal(live=True)

    def fail():
        for item in says.track(range(10), 10, "score"):
            says._bars._next = 0.0
            if item == 5:
                raise DataError("broken")

    with pytest.raises(DataError) as kept, bars_end_here():
        fail()
    assert kept.tb is not None  # as in a command, whose frames an error keeps alive
    assert show(stream.getvalue()) == [""] and "score" in stream.getvalue()


def test_counting_ends_where_it_is_complete(terminal, monkeypatch):
    monkeypatch.setattr(Screen, "columns", lambda self: 80)
    says, stream = terminal(live=True)
    advance = says.count("copy", BYTES)
    for done in (1, 2, 3):
        says._bars._next = 0.0
        advance(done * 1000, 3000)
    assert "2.0/3.0 kB" in stream.getvalue() and show(stream.getvalue()) == [""]
    silent, nothing = terminal(live=True, quiet=True)
    silent.count("copy")(1, 2)
    assert list(silent.track("ab", 2, "x")) == ["a", "b"]
    silent.note("a")
    silent.warn("b")
    silent.rows("t", ["a"], [["b"]])
    assert nothing.getvalue() == ""


@pytest.mark.parametrize(
    ("live", "variables", "coloured", "bars"),
    [
        (True, {}, True, True),
        (True, {"NO_COLOR": "1"}, False, True),
        (True, {"TERM": "dumb"}, False, False),
        (False, {}, False, False),
        (False, {"FORCE_COLOR": "1"}, True, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, True),
    ],
)
def test_colours_and_bars_where_they_are_wanted(terminal, live, variables, coloured, bars):
    says, stream = terminal(live=live, **variables)
    says.warn("look")
    says.rows("kept", ["class", "n"], [["ant", "3"]])
    for _ in says.track(range(3), 3, "score"):
        says._bars._next = 0.0
    text = stream.getvalue()
    assert ("\x1b[33m" in text and "\x1b[1m" in text) == coloured and ("\x1b[36m" in text) == (
        coloured and bars
    )
    assert ("━" in text) == bars and ("score: 1 of 3 (33 %)" in text) == (not bars)
    assert ("\x1b" in text) == (coloured or bars)


def test_a_terminal_that_is_gone_ends_no_work():
    class Gone(Stream):
        def write(self, text):
            raise OSError(5, "Input/output error")

    Screen(Gone(True)).write("anything")


def test_the_width_of_a_terminal(plain_environment):
    leader, follower = os.openpty()
    with open(follower, "w") as stream:
        assert Screen(stream).live and Screen(stream).columns() == 80  # which says that it has none
        assert Screen(stream).width() == 80
        plain_environment.setenv("COLUMNS", "33")
        assert Screen(stream).width() == 33
        plain_environment.setenv("COLUMNS", "many")
        assert Screen(stream).width() == 80 and Screen(Stream(False)).width() is None
    os.close(leader)


@pytest.mark.parametrize("width", [12, 40, 80, 200])
def test_tables_are_aligned_whatever_the_names(width):
    names = ["ant", "長い名前の動物", "cafe\u0301", "a" * 100, "[red]bee[/red]"]
    lines = lay_out(["class", "kept"], [[name, str(10**place)] for place, name in enumerate(names)], width)
    assert all(cells(line) <= max(width, 14) for line in lines)
    assert len({cells(line) for line in lines}) == 1  # all numbers end in one column
    assert [line.split()[-1] for line in lines] == ["kept", "1", "10", "100", "1000", "10000"]
    assert "[red]" in lines[5] and ("…" in lines[4]) == (width < 110)
    assert max(map(cells, lines)) <= 107


def test_no_room_cuts_names_and_never_numbers():
    columns = ["class", "available", "recall", "density", "quota"]
    row = ["crocodile", "1300", "100.0 %", "100.0 %", "1300"]
    assert lay_out(columns, [row], 40) == [
        "class    available  recall density quota",
        "crocodi…      1300 100.0 % 100.0 %  1300",
    ]
    assert lay_out(columns, [row], 40, plain=True)[1].startswith("crocodi.")
    assert lay_out(columns, [row], None)[1].startswith("crocodile  ")


def test_cutting_counts_columns():
    assert cut("ab", 2) == "ab" and cut("猫猫", 3) == "猫…" and cut("猫猫", 2) == "…"
    assert cut("e\u0301e\u0301e\u0301", 2) == "e\u0301…"


def test_a_long_table_shows_the_worst_the_first_and_the_last():
    values = [1.0] * 1000
    values[500], values[400], values[600], values[0] = 0.1, 0.2, None, float("nan")
    parts = dict(choose_rows(1000, values))
    assert parts["worst"][:2] == [500, 400] and len(parts["worst"]) == 10
    rows = [row for part in parts.values() for row in part]
    assert len(rows) == len(set(rows)) == ALL
    assert parts["last"] == [996, 997, 998, 999] and parts["first"][0] == 0
    equal = dict(choose_rows(1000, [0.3] * 1000))
    assert list(equal) == ["first", "last"] and equal["first"] == list(range(16))
    assert choose_rows(ALL, values[:ALL]) == [("", list(range(ALL)))]


def test_a_table_of_a_thousand_classes(terminal):
    rows = [[f"n{number:08}", str(number), "50 %"] for number in range(1000)]
    density = [0.5 + 0.001 * abs(number - 700) for number in range(1000)]
    says, stream = terminal(COLUMNS="80")
    says.rows("kept", ["class", "kept", "density"], rows, worst=("density", density))
    lines = stream.getvalue().splitlines()
    assert lines[:4] == [
        "kept",
        "class      kept  density",
        "the lowest density:",
        "n00000700   700     50 %",
    ]
    assert len(lines) == 26 and lines[-1] == "... and 980 more; -v shows all"
    assert "the first:" in lines and "the last:" in lines and "n00000999   999     50 %" in lines
    says, stream = terminal(verbose=True)
    says.rows("kept", ["class", "kept", "density"], rows, worst=("density", density))
    assert len(stream.getvalue().splitlines()) == 1002


def test_names_do_no_harm(terminal):
    says, stream = terminal()
    says.rows("kept", ["class", "n"], [["\x1b[2Jant", "1"], ["be\ne", "2"], ["[bold]cat", "3"]])
    says.note("key \x1b]0;title\x07")
    assert "\x1b" not in stream.getvalue() and len(stream.getvalue().splitlines()) == 6
    assert "[bold]cat" in stream.getvalue() and "\\x1b[2Jant" in stream.getvalue()
