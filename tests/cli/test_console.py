"""What is drawn on a terminal, and what goes elsewhere: bars, lines, tables, colours."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from dprune_cli.cli.bars import Bars
from dprune_cli.cli.console import MOST_ROWS, Terminal, bars_end_here, choose_rows
from dprune_cli.cli.options import Talk
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import BYTES, EPOCHS, SAMPLES


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
    for code, number, letter, sign in re.findall(r"(\x1b\[\??(\d*)[;\d]*([A-Za-z]))|([^\x1b])", text):
        if letter == "A":
            row -= int(number)
        elif letter == "K":
            assert number == "2"
            rows[row] = ""
        elif code:
            assert letter in "mhl"
        elif sign == "\r":
            column = 0
        else:
            if sign == "\n" or column == width:
                row, column = row + 1, 0
                rows += [""] * (row == len(rows))
            if sign != "\n":
                rows[row] = rows[row][:column].ljust(column) + sign + rows[row][column + 1 :]
                column += 1
    return [row.rstrip() for row in rows]


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def bars_on(plain_environment):
    """Bars on a terminal of so many columns, or elsewhere; their stream and their clock."""

    def make(width=None):
        stream, clock = Stream(width is not None), Clock()
        return Bars(Console(file=stream, width=width or 200), clock), stream, clock

    return make


@pytest.fixture
def terminal(plain_environment):
    """A `Terminal` on a stream, which shows every step."""
    plain_environment.setattr("dprune_cli.cli.bars._REDRAW", 0.0)
    plain_environment.setattr("dprune_cli.cli.bars._LINE", 0.0)

    def make(*, live=False, quiet=False, verbose=False, stream=None, **variables):
        for name, value in variables.items():
            plain_environment.setenv(name, value)
        stream = stream or Stream(live)
        plain_environment.setattr("sys.stderr", stream)
        return Terminal(Talk(quiet=quiet, verbose=verbose)), stream

    return make


@pytest.mark.parametrize(
    ("unit", "seconds", "before", "done", "total", "said"),
    [
        (SAMPLES, 5.12, 0, 25_600, 45_000, "25,600 of 45,000 (56 %), 5,000 samples/s, 0:00:04 left"),
        (EPOCHS, 600, 0, 3, 30, "3 of 30 epochs (10 %), 200 s/epoch, 1:30:00 left"),
        (EPOCHS, 6, 0, 15, 30, "15 of 30 epochs (50 %), 2.5 epochs/s, 0:00:06 left"),
        (EPOCHS, 10, 90, 95, 100, "95 of 100 epochs (95 %), 2 s/epoch, 0:00:10 left"),
        (BYTES, 10, 0, 12 * 10**8, 34 * 10**8, "1.2 of 3.4 GB (35 %), 120.0 MB/s, 0:00:19 left"),
        (SAMPLES, 10, 999, 999, 1000, "999 of 1,000 (99 %)"),
        (SAMPLES, 10, 0, 0, 0, "0 of 0 (100 %), 0:00:00 left"),
    ],
)
def test_counts_are_human(bars_on, unit, seconds, before, done, total, said):
    bars, stream, clock = bars_on()
    with bars.show("copy", unit, before, total) as advance:
        clock.now = seconds
        advance(done, total)
    assert stream.getvalue().startswith(f"copy: {said}")
    assert stream.getvalue().count(",") == f"copy: {said}".count(",")


def test_the_rate_is_that_of_late(bars_on):
    bars, stream, clock = bars_on()
    with bars.show("train", EPOCHS, 0, 10**6) as advance:
        for second in range(1200):
            clock.now = float(second)
            advance(min(second, 100) + 20 * max(second - 100, 0), 10**6)
    assert stream.getvalue().splitlines()[-1].split(", ")[1] == "20 epochs/s"


@pytest.mark.parametrize("width", [12, 20, 39, 79, 199])
def test_bars_fit_every_width(bars_on, width):
    bars, stream, clock = bars_on(width)
    outer, inner = bars.show("train", EPOCHS, 0, 30), bars.show("epoch 4/30", SAMPLES, 0, 45_000)
    with outer as epochs, inner as samples:
        clock.now = 2.0
        epochs(3, 30)
        samples(12_800, 45_000)
        clock.now = 3.0
        samples(12_800, 45_000)
        lines = show(stream.getvalue(), width)
    assert len(lines) == 2
    # A terminal writes `^C` behind a bar.
    assert all(len(line) <= min(width - 3, 90) for line in lines)
    assert "28 %" in lines[1] or "12,800/45,000" in lines[1]
    assert "━" in lines[1] and ("6,400 samples/s" in lines[1]) == (width >= 79)


def test_bars_are_drawn_below_what_is_said_and_go(bars_on):
    bars, stream, clock = bars_on(80)
    with bars.show("train", EPOCHS, 0, 2):
        with bars.show("epoch 1/2", SAMPLES, 0, 100) as advance:
            advance(10, 100)
            assert stream.getvalue() == ""  # what is over at once does not flash
            clock.now = 1.0
            advance(50, 100)
            rows = show(stream.getvalue())
            assert len(rows) == 2 and rows[0].startswith("train") and "50/100" in rows[1]
            bars.console.print("warning: look")
            rows = show(stream.getvalue())
            assert rows[0] == "warning: look" and len(rows) == 3 and "50/100" in rows[2]
        clock.now = 2.0
    bars.console.print("done")
    assert show(stream.getvalue()) == ["warning: look", "done", ""]
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25l\x1b[?25h") == 1


def test_a_narrower_window_leaves_nothing_of_a_bar(bars_on):
    bars, stream, clock = bars_on(80)
    for redrawn in (False, True):
        stream.seek(stream.truncate(0))
        with bars.show("copy", SAMPLES, 0, 1000) as advance:
            bars.console.width = 80
            clock.now += 1.0
            advance(500, 1000)
            (row,) = show(stream.getvalue())
            stream.seek(stream.truncate(0))
            bars.console.width = 20
            if redrawn:
                clock.now += 1.0
                advance(501, 1000)
        before = [row[start : start + 20] for start in range(0, len(row), 20)]
        after = show("\n".join(["said before", *before]) + stream.getvalue(), 20)
        assert after[:2] == ["said before", ""] and not any(after[2:])


def test_other_places_get_a_line_every_five_seconds(bars_on):
    bars, stream, clock = bars_on()
    outer, inner = bars.show("train", EPOCHS, 0, 2), bars.show("epoch 1/2", SAMPLES, 0, 120)
    with outer, inner as advance:
        for second in range(12):
            clock.now = float(second)
            advance(10 * second, 120)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0] == "train: 0 of 2 epochs (0 %); epoch 1/2: 50 of 120 (41 %), 10 samples/s, 0:00:07 left"


def test_bars_end_with_the_command(terminal):
    says, stream = terminal(live=True)

    def fail():
        for item in says.track(range(10), 10, "score"):
            if item == 5:
                raise DataError("broken")

    with pytest.raises(DataError) as kept, bars_end_here():
        fail()
    assert kept.tb is not None  # as in a command, whose frames an error keeps alive
    assert not any(show(stream.getvalue())) and "score" in stream.getvalue()


def test_counting_ends_where_it_is_complete(terminal):
    says, stream = terminal(live=True)
    advance = says.count("copy", BYTES)
    for done in (1, 2, 3):
        advance(done * 1000, 3000)
    assert "2.0/3.0 kB" in stream.getvalue() and not any(show(stream.getvalue()))
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
        pass
    text = stream.getvalue()
    assert ("\x1b[33m" in text and "\x1b[1m" in text) == coloured and ("\x1b[36m" in text) == (
        coloured and bars
    )
    assert ("━" in text) == bars and ("score: 1 of 3 (33 %)" in text) == (not bars)
    assert ("\x1b" in text) == (coloured or bars)


def test_a_terminal_that_is_gone_ends_no_work(terminal):
    class Gone(Stream):
        def write(self, text):
            raise OSError(5, "Input/output error")

        def flush(self):
            raise BrokenPipeError(32, "Broken pipe")

    says, _ = terminal(stream=Gone(True))
    says.note("anything")
    assert list(says.track("ab", 2, "x")) == ["a", "b"]


def table_at(terminal, columns, rows, **variables):
    """The lines of a table, without its title."""
    says, stream = terminal(**variables)
    says.rows("kept", columns, rows)
    return stream.getvalue().splitlines()[1:]


@pytest.mark.parametrize(
    ("said", "width"), [("12", 12), ("40", 40), ("80", 80), ("200", 200), ("0", 80), ("many", 80)]
)
def test_tables_are_aligned_whatever_the_names(terminal, said, width):
    names = ["ant", "長い名前の動物", "cafe\u0301", "a" * 100, "[red]bee[/red]"]
    rows = [[name, str(10**place)] for place, name in enumerate(names)]
    lines = table_at(terminal, ["class", "kept"], rows, COLUMNS=said)
    assert all(cell_len(line) <= max(width, 14) for line in lines)
    assert len({cell_len(line) for line in lines}) == 1  # all numbers end in one column
    assert [line.split()[-1] for line in lines] == ["kept", "1", "10", "100", "1000", "10000"]
    assert "[red]" in lines[5] and ("…" in lines[4]) == (width < 110)
    assert max(map(cell_len, lines)) <= 107


def test_no_room_cuts_names_and_never_numbers(terminal):
    columns = ["class", "available", "recall", "density", "quota"]
    row = ["crocodile", "1300", "100.0 %", "100.0 %", "1300"]
    assert table_at(terminal, columns, [row], COLUMNS="40") == [
        "class    available  recall density quota",
        "crocodi…      1300 100.0 % 100.0 %  1300",
    ]


def test_only_a_terminal_has_a_width(terminal):
    name = "a" * 300
    assert table_at(terminal, ["class", "kept"], [[name, "1"]])[1].split() == [name, "1"]
    says, stream = terminal(live=True)
    says.rows("kept", ["class", "kept"], [[name, "1"]])
    assert max(map(len, show(stream.getvalue(), 1000))) == says.console.width < 300


def test_cutting_counts_columns(terminal):
    rows = [["猫猫猫猫猫", "1"], ["e\u0301" * 9, "2"], ["e\u0301" * 8, "3"]]
    lines = table_at(terminal, ["class", "kept"], rows, COLUMNS="13")
    assert lines[1:] == ["猫猫猫 …    1", "e\u0301" * 7 + "…    2", "e\u0301" * 8 + "    3"]


def test_a_long_table_shows_the_worst_the_first_and_the_last():
    values = [1.0] * 1000
    values[500], values[400], values[600], values[0] = 0.1, 0.2, None, float("nan")
    parts = dict(choose_rows(1000, values))
    assert parts["worst"][:2] == [500, 400] and len(parts["worst"]) == 10
    rows = [row for part in parts.values() for row in part]
    assert len(rows) == len(set(rows)) == MOST_ROWS
    assert parts["last"] == [996, 997, 998, 999] and parts["first"][0] == 0
    equal = dict(choose_rows(1000, [0.3] * 1000))
    assert list(equal) == ["first", "last"] and equal["first"] == list(range(16))
    assert choose_rows(MOST_ROWS, values[:MOST_ROWS]) == [("", list(range(MOST_ROWS)))]


def test_a_table_of_a_thousand_classes(terminal):
    rows = [[f"n{number:08}", str(number), "50 %"] for number in range(1000)]
    density = [0.5 + 0.001 * abs(number - 700) for number in range(1000)]
    says, stream = terminal(COLUMNS="80")
    says.rows("kept", ["class", "kept", "density"], rows, worst=("density", density))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines[:4] == [
        "kept",
        "class                kept  density",
        "the lowest density:",
        "n00000700             700     50 %",
    ]
    assert len(lines) == 26 and lines[-1] == "... and 980 more; -v shows all"
    assert "the first:" in lines and "the last:" in lines and "n00000999             999     50 %" in lines
    says, stream = terminal(verbose=True)
    says.rows("kept", ["class", "kept", "density"], rows, worst=("density", density))
    assert len(stream.getvalue().splitlines()) == 1002


def test_names_do_no_harm(terminal):
    says, stream = terminal()
    says.rows("kept", ["class", "n"], [["\x1b[2Jant", "1"], ["be\ne", "2"], ["[bold]cat", "3"]])
    says.note("key \x1b]0;title\x07")
    assert "\x1b" not in stream.getvalue() and len(stream.getvalue().splitlines()) == 6
    assert "[bold]cat" in stream.getvalue() and "\\x1b[2Jant" in stream.getvalue()
