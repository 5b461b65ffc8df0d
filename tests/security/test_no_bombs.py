from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_data import jpeg, members, png_header, write_members
from commands import ENVIRONMENT, call, must
from guards import deadline
from PIL import Image

from dprune_cli.data.decode import DecodeError, decode_image, probe_image
from dprune_cli.io.table import read_table

SIDE = 100_000


def encoded(kind):
    target = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(target, kind)
    return bytearray(target.getvalue())


def vast(kind):
    """An image of `SIDE` x `SIDE` pixels as its header says, in a few hundred bytes."""
    if kind == "PNG":
        return png_header(SIDE, SIDE)
    raw = encoded(kind)
    if kind == "BMP":
        raw[18:26] = struct.pack("<ii", SIDE, SIDE)
    elif kind == "BMP upside down":
        raw[18:26] = struct.pack("<ii", SIDE, -SIDE)
    elif kind == "GIF":
        raw[6:10] = struct.pack("<HH", 65_535, 65_535)
    elif kind == "JPEG":
        place = raw.index(b"\xff\xc0") + 5
        raw[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    elif kind == "WEBP":
        side = (SIDE - 1).to_bytes(3, "little")
        raw[12:12] = b"VP8X" + struct.pack("<I", 10) + bytes(4) + side + side
    return bytes(raw)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG", "WEBP"])
def test_a_vast_image_is_refused_before_it_is_decoded(kind):
    raw = vast(kind)
    assert len(raw) < 2000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for attempt in (probe_image, lambda raw: decode_image(raw, 8)):
        with deadline(2), pytest.raises(DecodeError) as caught:
            attempt(raw)
        assert caught.value.status == ("decode_error" if kind == "GIF" else "too_large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_chunk_does_not_unfold_in_memory(kind):
    raw = bytes(encoded("PNG"))
    body = zlib.compress(bytes(1 << 26))
    head = b"key\0\1\0\0\0" if kind == b"iTXt" else b"key\0\0"
    chunk = struct.pack(">I", len(head + body)) + kind + head + body
    chunk += struct.pack(">I", zlib.crc32(kind + head + body))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with deadline(2):
        try:
            assert decode_image(raw[:33] + chunk + raw[33:], 8).shape == (3, 8, 8)
        except DecodeError as error:
            assert error.status == "decode_error"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_odd_files_in_an_image_folder_are_not_read(tmp_path):
    for number in range(6):
        (tmp_path / "data" / "ab"[number % 3 == 0]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "ab"[number % 3 == 0] / f"{number}.jpg").write_bytes(jpeg(seed=number))
    os.mkfifo(tmp_path / "data" / "a" / "fifo.jpg")
    (tmp_path / "data" / "a" / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "data" / "a" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "data" / "a" / "round").symlink_to("..")
    with deadline():
        done = call(
            "score", tmp_path / "data", "-m", "random", "-o", tmp_path / "t.parquet", "--max-errors", "3"
        )
    assert done.code == 0, done.err
    table = read_table(str(tmp_path / "t.parquet"))
    status = dict(zip(table.data["key"].to_pylist(), table.data["status"].to_pylist(), strict=True))
    assert [status[f"a/{name}"] for name in ("fifo", "zero", "loop")] == ["not_a_file"] * 3
    assert len(status) == 9


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_member_of_eight_exbibytes_is_damage(tmp_path, kind, first):
    item = tarfile.TarInfo("vast.jpg")
    item.type, item.size = kind, 2**63 - 512
    bomb = item.tobuf(tarfile.GNU_FORMAT)
    write_members(tmp_path / "whole.tar", members())
    raw = (tmp_path / "whole.tar").read_bytes()
    whole = len(raw.rstrip(b"\0")) // 512 * 512 + 512
    (tmp_path / "a.tar").write_bytes(bomb + raw if first else raw[:whole] + bomb + b"x" * 512)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with deadline():
        done = call(
            "score", tmp_path / "a.tar", "-m", "random", "-o", tmp_path / "t.parquet", "--max-errors", "9"
        )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    if first:
        assert done.code == 3 and "holds no images" in done.line
    else:
        assert done.code == 0, done.err
        assert len(read_table(str(tmp_path / "t.parquet"))) == 6


@pytest.mark.slow
def test_a_table_that_claims_a_trillion_rows_is_refused(tmp_path):
    """The number of rows in the footer of a small file is replaced by one of the same length in bytes."""
    path = tmp_path / "t.parquet"
    rows = 10**6
    pq.write_table(pa.table({"key": pa.nulls(rows, pa.string()), "el2n": pa.nulls(rows, pa.float32())}), path)
    raw = path.read_bytes()
    said, claimed = varint(rows), varint(10**12)
    at = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    footer = raw[at:-8].replace(said, claimed)
    assert footer != raw[at:-8]
    path.write_bytes(raw[:at] + footer + struct.pack("<I", len(footer)) + b"PAR1")
    assert pq.ParquetFile(path).metadata.num_rows == 10**12
    for words in (
        ["quota", path, "--keep", "5", "--method", "uniform"],
        ["select", path, "--by", "el2n", "--keep", "5"],
    ):
        done = limited(*words, "-o", tmp_path / "out")
        assert done.returncode in (1, 3) and len(done.stderr.splitlines()) <= 3, done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
    for option in ("--from-features", "--from-trajectory"):
        done = limited("score", "-m", "el2n", option, path, "-o", tmp_path / "out")
        assert done.returncode in (1, 2, 3) and "Traceback" not in done.stderr


def limited(*words):
    """A command that may use a minute of processor and 8 GiB of addresses."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    command = [sys.executable, "-m", "dprune_cli", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, preexec_fn=limit, timeout=120
    )


def varint(number):
    """A number as Thrift's compact protocol writes it: zigzag, seven bits a byte."""
    number *= 2
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def test_a_compressed_archive_is_not_unfolded(tmp_path):
    raw = zlib.compress(bytes(1 << 24), wbits=31)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 24))
    for content in (raw, target.getvalue()):
        (tmp_path / "a.tar").write_bytes(content)
        with deadline(2):
            done = call("score", tmp_path / "a.tar", "-m", "random", "-o", tmp_path / "t.parquet")
        assert done.code == 3 and done.line


def test_a_vast_image_in_data_costs_its_sample_alone(tmp_path):
    bombs = [(f"bomb{kind}.{kind.lower()}", vast(kind)) for kind in ("PNG", "BMP", "JPEG", "WEBP")]
    labels = [(name.partition(".")[0] + ".cls", b"0") for name, _ in bombs]
    pairs = [member for pair in zip(bombs, labels, strict=True) for member in pair]
    shard = write_members(
        tmp_path / "a.tar", [*members(), *[(name.replace("jpeg", "jpg"), raw) for name, raw in pairs]]
    )
    must("score", shard, "-m", "random", "-o", tmp_path / "t.parquet", "--max-errors", "4")
    status = read_table(str(tmp_path / "t.parquet")).data["status"].to_pylist()
    assert status == ["ok"] * 6 + ["too_large"] * 4
