"""Inputs that fail while they are read: one line that names the file, and no output."""

from __future__ import annotations

import errno
import os

import pytest
from launcher import contents

from dprune_cli.cli.app import run


def failing(function, after, number=errno.EIO):
    """A system call that fails from some call on, as on a bad disk."""
    calls = 0

    def call(*arguments):
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(number, os.strerror(number))
        return function(*arguments)

    return call


def told(capsys, *words):
    """Exit code and the one line of an error."""
    code = run([str(word) for word in words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dprune: ")]
    assert len(lines) == 1, lines
    return code, lines[0].removeprefix("dprune: error: ")


def test_a_shard_that_fails_while_it_is_decoded(tmp_path, monkeypatch, capsys, shard_folder):
    monkeypatch.setattr(os, "pread", failing(os.pread, 7))
    code, line = told(capsys, "score", shard_folder, "-m", "random", "-o", tmp_path / "out", "-q")
    assert code == 3 and line.startswith(f"cannot read {shard_folder}/00000")
    assert line.endswith(".tar: Input/output error")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("after", "reads", "code", "said"),
    [
        (1, False, 3, "cannot read {shards}/000001.tar: Input/output error"),
        (1, True, 1, "cannot write {out}: Input/output error"),
        (0, True, 1, "cannot write {out}: Input/output error"),
    ],
    ids=["reading", "writing", "writing at once"],
)
def test_a_copy_that_fails(tmp_path, monkeypatch, capsys, tables, shard_folder, after, reads, code, said):
    monkeypatch.setattr(os, "sendfile", failing(os.sendfile, after))
    if not reads:
        monkeypatch.setattr(os, "pread", failing(os.pread, 0))
    out = tmp_path / "out"
    words = ["select", tables / "shards.parquet", "--by", "random", "--keep", "1.0"]
    found = told(capsys, *words, "--shards", out, "-o", tmp_path / "table", "-q")
    assert found == (code, said.format(shards=shard_folder, out=out))
    assert contents(tmp_path) == {}


def test_a_shard_that_becomes_shorter_while_it_is_copied(tmp_path, monkeypatch, capsys, tables, shard_folder):
    monkeypatch.setattr(os, "sendfile", lambda *about: 0)
    words = ["select", tables / "shards.parquet", "--by", "random", "--keep", "1.0"]
    code, line = told(capsys, *words, "--shards", tmp_path / "out", "-o", tmp_path / "table", "-q")
    assert code == 3 and line == f"{shard_folder}/000000.tar: changed while it was copied; score it again"
    assert contents(tmp_path) == {}


def test_an_image_that_fails_while_it_is_packed(tmp_path, monkeypatch, capsys, tables, image_folder):
    image = image_folder / "bee" / "07.png"
    content = image.read_bytes()
    image.unlink()
    image.mkdir()
    try:
        words = ["select", tables / "files.parquet", "--by", "random", "--keep", "1.0"]
        code, line = told(capsys, *words, "--shards", tmp_path / "out", "-o", tmp_path / "table", "-q")
    finally:
        image.rmdir()
        image.write_bytes(content)
    assert code == 3 and str(image) in line
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "words",
    [
        "select TABLE --by random --keep 3",
        "quota TABLE --keep 3 -m uniform",
        "select TABLE --by el2n --keep 3",
    ],
)
def test_a_table_that_is_gone_or_damaged(tmp_path, capsys, tables, words):
    table, out = tmp_path / "table", tmp_path / "out"
    line = words.replace("TABLE", str(table)).split()
    code, said = told(capsys, *line, "-o", out, "-q")
    assert code == 3 and said == f"{table}: there is no such table"
    whole = (tables / "shards.parquet").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-4], b""):
        table.write_bytes(damaged)
        code, said = told(capsys, *line, "-o", out, "-q")
        assert code == 3 and str(table) in said
    assert not out.exists()
