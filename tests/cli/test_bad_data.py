from __future__ import annotations

import io
import tarfile

import pyarrow.parquet as pq
import pytest
from bad_data import BROKEN, jpeg, members, png_16_bit, with_image, write_members
from commands import QUICK, call, contents, must

TOLERANT = ["--max-errors", "5"]


def commands(data, out, trained_run):
    """Every command that reads DATA, with what it writes."""
    return {
        "score": ["score", data, "-m", "random", "-o", out],
        "score and train": ["score", data, "-m", "el2n", "--runs", "1", "-o", out, *QUICK],
        "train": ["train", data, "-o", out, *QUICK],
        "evaluate": ["evaluate", trained_run, data, "-o", out],
    }


def statuses(path):
    table = pq.read_table(path / "table.parquet" if path.is_dir() else path)
    return dict(zip(*(table[name].to_pylist() for name in ("key", "status")), strict=True))


NO_DATA = {
    "empty folder": lambda path: path.mkdir(),
    "empty class": lambda path: (path / "ant").mkdir(parents=True),
    "empty tar": lambda path: write_members(path / "0.tar", []),
    "no bytes": lambda path: write_members(path / "0.tar", []).write_bytes(b""),
    "text": lambda path: write_members(path / "0.tar", []).write_text("no tar " * 999),
    "no images": lambda path: write_members(path / "0.tar", [("a.cls", b"1"), ("b.txt", b"x")]),
}


@pytest.mark.parametrize("kind", NO_DATA)
@pytest.mark.parametrize("command", ["score", "score and train", "train", "evaluate"])
def test_no_data(tmp_path, trained_run, kind, command):
    NO_DATA[kind](tmp_path / "data")
    before = contents(tmp_path)
    done = call(*commands(tmp_path / "data", tmp_path / "out", trained_run)[command])
    assert done.code == 3 and f"{tmp_path / 'data'}: holds no images" in done.line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["score", "score and train", "train"])
def test_one_class(tmp_path, trained_run, command):
    write_members(tmp_path / "data.tar", members(labels=("1", "1")))
    done = call(*commands(tmp_path / "data.tar", tmp_path / "out", trained_run)[command])
    assert done.code == 3 and "all 6 samples are of one class, '1'" in done.line
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar"]


def test_a_folder_too_far_out_is_guessed(tmp_path, image_folder):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(image_folder)
    done = call("score", tmp_path / "data", "-m", "random", "-o", tmp_path / "out")
    assert done.code == 3
    assert f"one class, 'train'; {tmp_path}/data has one class folder" in done.line
    assert f"did you mean {tmp_path}/data/train?" in done.line


@pytest.mark.parametrize("command", ["score", "train"])
def test_no_sample_with_a_label_says_how_to_name_one(tmp_path, trained_run, command):
    write_members(tmp_path / "data.tar", [("a.jpg", jpeg()), ("a.json", b'{"kind": 1}')])
    done = call(*commands(tmp_path / "data.tar", tmp_path / "out", trained_run)[command])
    assert done.code == 3
    assert "data.tar: no sample can be used (1 missing_label)" in done.line
    assert "--label-field names a field of .json" in done.line


@pytest.mark.parametrize("command", ["score", "score and train", "train", "evaluate"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image(tmp_path, image_folder, trained_run, command, name):
    content, status = BROKEN[name]
    data = with_image(image_folder, tmp_path / "data", name, content)
    key = f"ant/{name.partition('.')[0]}"
    before = contents(data)
    line = commands(data, tmp_path / "out", trained_run)[command]
    done = call(*line)
    assert done.code == 5
    assert f"warning: {key}: {status} (file ant/{name})" in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith(
        "dprune: error: 1 of 41 samples cannot be used, more than --max-errors 0.1% allows"
    )
    assert statuses(tmp_path / "out")[key] == status
    assert contents(data) == before
    again = call(*line, "--force", *TOLERANT)
    assert again.code == 0 and "error" not in again.err.replace("decode_error", "")
    assert statuses(tmp_path / "out")[key] == status


def test_the_errors_that_are_allowed(tmp_path, image_folder):
    data = with_image(image_folder, tmp_path / "data", *("cut.jpg", b"x"))
    for allowed, code in {"0": 5, "1": 0, "2.4%": 5, "2.5%": 0, "0.024": 5, "0.025": 0}.items():
        done = call("score", data, "-m", "random", "-o", tmp_path / "out", "--force", "--max-errors", allowed)
        assert done.code == code, allowed


def test_images_of_any_kind_are_read(tmp_path, image_folder, trained_run):
    data = with_image(image_folder, tmp_path / "data", "grey.JPG", jpeg("L"))
    (data / "ant" / "print.jpeg").write_bytes(jpeg("CMYK"))
    (data / "ant" / "deep.png").write_bytes(png_16_bit())
    for name, line in commands(data, tmp_path / "out", trained_run).items():
        done = must(*line[: line.index("-o")], "-o", tmp_path / name, *line[line.index("-o") + 2 :])
        assert "warning" not in done.err
        assert list(statuses(tmp_path / name).values()) == ["ok"] * 43


BAD_LABELS = {
    "missing": ([("x.jpg", jpeg())], "missing_label"),
    "unknown": ([("x.jpg", jpeg()), ("x.cls", b"zebra")], "unknown_label"),
    "empty": ([("x.jpg", jpeg()), ("x.cls", b"")], "_label"),
    "negative": ([("x.jpg", jpeg()), ("x.cls", b"-3")], "label_out_of_range"),
    "decimal": ([("x.jpg", jpeg()), ("x.cls", b"1.5")], "_label"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("command", ["score", "train"])
def test_a_bad_label(tmp_path, trained_run, kind, command):
    extra, status = BAD_LABELS[kind]
    data = write_members(tmp_path / "data.tar", members() + extra)
    done = call(*commands(data, tmp_path / "out", trained_run)[command])
    assert done.code == 5
    assert "warning: x: " in done.err and "(shard data.tar)" in done.err
    assert statuses(tmp_path / "out")["x"].endswith(status)


def test_class_names_as_labels(tmp_path):
    data = write_members(tmp_path / "data.tar", members(labels=("zebra", "ant")))
    must("score", data, "-m", "random", "-o", tmp_path / "out")
    labels = pq.read_table(tmp_path / "out")["label"].to_pylist()
    assert labels == [0, 1, 1, 0, 1, 1]  # ant, zebra, zebra, ...


def test_a_truncated_shard_keeps_what_precedes_the_damage(tmp_path, shard_folder, trained_run):
    whole = (shard_folder / "000000.tar").read_bytes()
    with tarfile.open(shard_folder / "000000.tar") as archive:
        cut = archive.getmembers()[42].offset_data + 5  # in the 15th of 20 samples
    (tmp_path / "data.tar").write_bytes(whole[:cut])
    for name, line in commands(tmp_path / "data.tar", tmp_path / "out", trained_run).items():
        out = line[line.index("-o") + 1] = tmp_path / name
        done = call(*line)
        assert done.code == 5, done.err
        assert "(damaged shards: 1), more than --max-errors" in done.err
        assert "warning: shard data.tar: " in done.err and "14 samples before that" in done.err
        assert list(statuses(out).values()) == ["ok"] * 14


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_reach_the_output_whole(tmp_path, tar_format):
    prefix = "ü" * 60 + "/" + "deep/" * 40
    data = write_members(tmp_path / "data.tar", members(prefix), tar_format)
    must("score", data, "-m", "random", "-o", tmp_path / "out")
    assert list(statuses(tmp_path / "out")) == [f"{prefix}k{number}" for number in range(6)]
    must("select", tmp_path / "out", "--by", "random", "--keep", "1.0", "--shards", tmp_path / "new", "-q")
    with tarfile.open(data) as old, tarfile.open(tmp_path / "new" / "000000.tar") as new:
        assert new.getnames() == old.getnames()


def test_keys_with_dots(tmp_path):
    data = write_members(
        tmp_path / "data.tar", [("v1.0/a.b.jpg", jpeg()), ("v1.0/a.cls", b"0"), *members("b.c/")]
    )
    must("score", data, "-m", "random", "-o", tmp_path / "out")
    assert list(statuses(tmp_path / "out")) == ["v1.0/a", *(f"b.c/k{number}" for number in range(6))]


def test_scattered_members_are_not_used(tmp_path):
    data = write_members(tmp_path / "data.tar", [*members(), ("k0.txt", b"late")])
    done = call("score", data, "-m", "random", "-o", tmp_path / "out", *TOLERANT)
    assert done.code == 0 and "k0: scattered (shard data.tar)" in done.err
    found = statuses(tmp_path / "out")
    assert found["k0"] == "scattered" and list(found.values()).count("ok") == 5


def test_duplicate_keys_are_used_once_all_the_way(tmp_path):
    for number in range(2):
        write_members(tmp_path / "data" / f"{number}.tar", members())
    write_members(tmp_path / "data" / "2.tar", members("z", 3))
    done = call("score", tmp_path / "data", "-m", "random", "-o", tmp_path / "out", *TOLERANT)
    assert done.code == 5 and "k0: duplicate_key (shard 1.tar)" in done.err
    must("select", tmp_path / "out", "--by", "random", "--keep", "1.0", "--shards", tmp_path / "new", "-q")
    with tarfile.open(tmp_path / "new" / "000000.tar") as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) == 2 * 9
    done = must("train", tmp_path / "data", "-o", tmp_path / "run", "--max-errors", "6", *QUICK)
    assert "trained on 9 samples" in done.err


@pytest.mark.parametrize("command", ["score", "train"])
def test_a_bad_stream(tmp_path, trained_run, command):
    line = commands("-", tmp_path / "out", trained_run)[command]
    for stream, said in ((b"", "standard input is empty"), (b"no tar" * 999, "is no tar archive")):
        done = call(*line, stdin=stream)
        assert done.code == 3 and said in done.line
        assert list(tmp_path.iterdir()) == []


def test_a_stream_is_data_like_any_other(tmp_path):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in members():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    done = call("score", "-", "-m", "random", "-o", tmp_path / "out", stdin=target.getvalue())
    assert done.code == 0 and "scored 6 of 6" in done.err
    lost = call(
        "select", tmp_path / "out", "--by", "random", "--keep", "3", "--shards", tmp_path / "new", "-q"
    )
    assert lost.code == 3 and "score with --spool DIR, or give --data" in lost.line
    spool = ["--spool", tmp_path / "spool"]
    call("score", "-", "-m", "random", "-o", tmp_path / "kept", *spool, stdin=target.getvalue())
    must("select", tmp_path / "kept", "--by", "random", "--keep", "3", "--shards", tmp_path / "new", "-q")
    assert (tmp_path / "new" / "000000.tar").exists()
