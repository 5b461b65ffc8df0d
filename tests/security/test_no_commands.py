from __future__ import annotations

import os

import pytest
from commands import QUICK, call
from forged import forge
from guards import stay_inside

WORDS = ["pipe:touch {mark}", "PIPE:touch {mark}", "{{pipe:touch {mark},b}}", "pipe:touch {mark}; cat a.tar"]
PLACES = [
    "score|WORD|-m|random|-o|OUT",
    "score|SHARDS|-m|random|--val|WORD|-o|OUT",
    "score|-|-m|random|--spool|WORD|-o|OUT",
    "score|SHARDS|-m|random|--record-features|WORD|-o|OUT",
    "score|-m|el2n|--from-features|WORD|-o|OUT",
    "score|SHARDS|-m|random|-o|WORD",
    "train|WORD|-o|OUT",
    "train|SHARDS|--val|WORD|-o|OUT",
    "train|SHARDS|--table|WORD|-o|OUT",
    "train|SHARDS|--init|WORD|-o|OUT",
    "evaluate|WORD|SHARDS",
    "evaluate|SHARDS|WORD",
    "quota|WORD|--keep|3|--method|uniform|-o|OUT",
    "quota|TABLE|--keep|3|--method|drop|--val|WORD|-o|OUT",
    "quota|TABLE|--from|WORD|-o|OUT",
    "select|WORD|--by|random|--keep|3|-o|OUT",
    "select|TABLE|--by|random|--keep|3|--data|WORD|--shards|OUT",
    "select|TABLE|--by|random|--keep|3|--shards|WORD",
    "select|TABLE|--by|random|--keep|3|--keys|WORD",
]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("place", PLACES)
def test_no_word_of_a_command_line_runs_a_command(nowhere, scored, shard_folder, place):
    mark = nowhere / "ran"
    known = {"SHARDS": shard_folder, "TABLE": scored / "shards.parquet", "OUT": nowhere / "out"}
    for text in WORDS:
        word = text.format(mark=mark)
        arguments = [known.get(part, word if part == "WORD" else part) for part in place.split("|")]
        quick = QUICK if arguments[0] in ("score", "train") else []
        with stay_inside(nowhere):
            call(
                *[os.fspath(part).replace(" ", "\u00a0") if part == word else part for part in arguments],
                *quick,
            )
        assert not mark.exists()


@pytest.mark.parametrize("word", ["pipe:touch\u00a0ran", "PIPE:x", "file:///etc/passwd"])
@pytest.mark.parametrize("option", ["", "--val", "--spool"])
def test_commands_and_local_urls_are_one_line(nowhere, shard_folder, word, option):
    data = [word] if not option else [shard_folder if option == "--val" else "-", option, word]
    with stay_inside(nowhere):
        done = call("score", *data, "-m", "random", "-o", nowhere / "out", *QUICK, stdin=b"x")
    assert done.code in (2, 3) and done.line
    assert not list((nowhere / "here").iterdir()) and not (nowhere / "out").exists()


@pytest.mark.parametrize(
    "root", ["pipe:touch ran", ["pipe:touch ran"], "{pipe:touch ran,b}", "|touch ran", "$(touch ran)"]
)
@pytest.mark.parametrize("output", ["--shards", "--folder"])
def test_a_root_in_a_table_runs_no_command(nowhere, scored, root, output):
    table = forge(scored / "shards.parquet", nowhere / "t.parquet", root=root)
    with stay_inside(nowhere):
        done = call("select", table, "--by", "random", "--keep", "3", output, nowhere / "out")
    assert done.code in (2, 3) and done.line
    assert not list((nowhere / "here").iterdir()) and not (nowhere / "out").exists()
