from __future__ import annotations

import json

import pyarrow as pa
import pytest
from bad_data import members, write_members
from commands import QUICK, call, must
from forged import forge

EVIL = "x\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\rx\x08"
RAW = "\x1b\x07\x9b\u202e\r\x08"


def harmless(text):
    return not any(sign in text for sign in RAW)


def test_keys_and_class_names_reach_the_terminal_written_out(tmp_path):
    files = members(prefix="k\x1b[2J", labels=(EVIL, "plain"))
    files += [("bad\x1b[31m\n.jpg", b"no image"), ("bad\x1b[31m\n.cls", b"plain")]
    shard = write_members(tmp_path / "a.tar", files)
    table, run = tmp_path / "t.parquet", tmp_path / "run"
    done = call("score", shard, "-m", "random", "-o", table, "--max-errors", "100%")
    assert done.code == 0 and "\\x1b[31m\\n" in done.err and harmless(done.err)
    for words in (
        ["quota", table, "--keep", "3", "--method", "uniform", "-o", tmp_path / "q.parquet"],
        ["select", table, "--by", "random", "--keep", "3", "-o", tmp_path / "s.parquet"],
        ["train", shard, "-o", run, "--max-errors", "100%", *QUICK],
        ["evaluate", run, shard, "--max-errors", "100%"],
    ):
        done = call(*words)
        assert done.code == 0, done.err
        assert harmless(done.err) and harmless(done.out.decode())
        assert len(done.err) > 10
    done = call("evaluate", run, shard, "--max-errors", "100%", "--json")
    assert harmless(done.out.decode()) and EVIL in json.loads(done.out)["recall"]


@pytest.mark.parametrize(
    "words",
    [
        "score|{evil}|-m|random|-o|out",
        "score|{evil}.tar|-m|{evil}|-o|out",
        "quota|{evil}|--keep|{evil}|--method|uniform|-o|out",
        "select|TABLE|--by|{evil}|--keep|2|-o|out",
        "select|TABLE|--by|random|--keep|2|--data|{evil}|--shards|out",
        "train|{evil}|-o|out",
        "{evil}",
        "score|--{evil}",
    ],
)
def test_words_of_the_command_line_are_written_out_in_errors(tmp_path, monkeypatch, scored, words):
    monkeypatch.chdir(tmp_path)
    known = {"TABLE": scored / "shards.parquet"}
    done = call(*[known.get(word, word.replace("{evil}", "a\x1b[2Jb\x07")) for word in words.split("|")])
    assert done.code in (2, 3, 4) and done.line and harmless(done.err)


def test_an_error_stays_one_line_whatever_a_key_holds(tmp_path, scored):
    keys = pa.array(["a\nb\x1b[2J"] * 40)
    table = forge(scored / "shards.parquet", tmp_path / "t.parquet", columns={"key": keys})
    done = call("select", table, "--by", "random", "--keep", "3", "-o", tmp_path / "out")
    assert done.code == 3 and harmless(done.line)


def test_a_list_of_keys_is_refused_a_key_of_two_lines(tmp_path, scored):
    keys = pa.array([f"a\nb{number}" for number in range(40)])
    table = forge(scored / "shards.parquet", tmp_path / "t.parquet", columns={"key": keys})
    done = call(
        "select",
        table,
        "--by",
        "random",
        "--keep",
        "3",
        "--keys",
        tmp_path / "keys.txt",
        "-o",
        tmp_path / "o",
    )
    assert done.code == 3 and "has a line break" in done.line
    assert not (tmp_path / "keys.txt").exists()
    must("select", table, "--by", "random", "--keep", "3", "-o", tmp_path / "out.parquet")
