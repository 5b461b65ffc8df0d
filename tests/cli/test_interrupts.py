"""Ctrl-C and SIGTERM in the middle of every command."""

from __future__ import annotations

import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import QUICK, contents, spawn, start

LONG = ["--model", "tiny", "--epochs", "100000", "--device", "cpu"]
STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def stop(process, number, *, when):
    """Send a signal as soon as `when()` holds; returns the exit code and what was said."""
    deadline = time.monotonic() + 90
    while not when():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out == b""
    return process.returncode, err.decode().splitlines()


def there(folder, pattern):
    return lambda: any(folder.glob(pattern))


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("words", ["select - --by random --keep 3", "quota - --keep 3 --method uniform"])
def test_a_command_that_waits_for_its_table(tmp_path, words, number, code):
    process = start(*words.split(), "-o", tmp_path / "out", stdin=-1)
    process.stdin.write(b"PAR1")
    process.stdin.flush()
    time.sleep(2)  # importing takes less; nothing can be seen of a command that reads
    assert stop(process, number, when=lambda: True) == (code, ["dprune: interrupted"])
    assert contents(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_score_while_it_keeps_standard_input(tmp_path, shard_folder, number, code):
    process = start("score", "-", "-m", "random", "--spool", tmp_path / "s", "-o", tmp_path / "out", stdin=-1)
    stream = (shard_folder / "000000.tar").read_bytes()
    process.stdin.write(stream)
    process.stdin.flush()
    assert stop(process, number, when=there(tmp_path, "s/.*.part")) == (code, ["dprune: interrupted"])
    assert contents(tmp_path) == {}
    words = ["score", "-", "-m", "random", "--spool", tmp_path / "s", "-o", tmp_path / "out", "-q"]
    assert spawn(*words, stdin=stream).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_score_while_it_trains(tmp_path, image_folder, number, code):
    before = contents(image_folder)
    places = {"-o": "table", "--save-model": "run", "--record-trajectory": "log"}
    outputs = [word for option, name in places.items() for word in (option, tmp_path / name)]
    process = start("score", image_folder, "-m aum -m el2n", *outputs, *LONG)
    stopped, said = stop(process, number, when=there(tmp_path, ".table.resume/*.pt"))
    assert stopped == code and said[-1] == "dprune: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == [".table.resume"]
    assert contents(image_folder) == before
    other = ["score", image_folder, "-m aum --runs 1", *outputs, *QUICK]
    assert "holds unfinished work with other options" in spawn(*other, "-q").line
    assert spawn(*other, "--force").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "run", "table"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_train_goes_on_where_it_was_stopped(tmp_path, image_folder, number, code):
    options = ["--model", "tiny", "--epochs", "200", "--device", "cpu"]
    words = ["train", image_folder, "-o", tmp_path / "run", *options]
    process = start(*words)
    stopped = stop(process, number, when=there(tmp_path, ".run.part/resume.pt"))
    assert stopped == (code, ["dprune: interrupted"])
    assert not (tmp_path / "run").exists()
    other = spawn("train", image_folder, "-o", tmp_path / "run", *options, "--lr", "0.2")
    assert other.code == 2 and "holds an unfinished run with other options or data" in other.line
    assert spawn(*words).code == 0
    assert spawn("train", image_folder, "-o", tmp_path / "whole", *options).code == 0
    runs = [tmp_path / "run", tmp_path / "whole"]
    clocks = ["seconds", "plan_seconds", "visit_seconds"]
    stopped, whole = (pq.read_table(run / "history.parquet").drop_columns(clocks) for run in runs)
    assert stopped.num_rows == 200 and stopped == whole
    stopped, whole = ((run / "model.safetensors").read_bytes() for run in runs)
    assert stopped == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "whole"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_evaluate_while_it_reads(tmp_path, trained_run, number, code):
    process = start("evaluate", trained_run, "-", "--spool", tmp_path / "s", "-o", tmp_path / "out", stdin=-1)
    process.stdin.write(b"x" * 512)
    process.stdin.flush()
    assert stop(process, number, when=there(tmp_path, "s/.*.part")) == (code, ["dprune: interrupted"])
    assert contents(tmp_path) == {}


def link_many(folder, target, times):
    """A folder with every image of `folder` many times over, as hard links."""
    for image in sorted(folder.rglob("*.png")):
        place = target / image.parent.name
        place.mkdir(exist_ok=True)
        for number in range(times):
            (place / f"{image.stem}-{number}.png").hardlink_to(image)
    return target


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("option", ["--shards", "--folder", "--keys"])
def test_select_while_it_writes(tmp_path, tmp_path_factory, image_folder, number, code, option):
    # Forty samples are written before a signal can arrive, so the same forty are listed many times over;
    # for a folder, where every sample needs a name of its own, as links.
    if option == "--folder":
        image_folder = link_many(image_folder, tmp_path_factory.mktemp("many"), 200)
    spawn("score", image_folder, "-m", "random", "--no-check", "-o", tmp_path / "table", "-q")
    table = pq.read_table(tmp_path / "table")
    if option != "--folder":
        many = pa.concat_tables([table] * 4000)
        keys = pa.array([f"{key}-{number}" for number in range(4000) for key in table["key"].to_pylist()])
        pq.write_table(many.set_column(0, "key", keys), tmp_path / "table")
    before = contents(image_folder, tmp_path / "table")
    options = ["--by", "random", "--keep", "1.0", option, tmp_path / "out", "-o", tmp_path / "new"]
    process = start("select", tmp_path / "table", *options)
    assert stop(process, number, when=there(tmp_path, ".out.part")) == (code, ["dprune: interrupted"])
    assert [path.name for path in tmp_path.iterdir()] == ["table"]
    assert contents(image_folder, tmp_path / "table") == before
    few = ["--by", "random", "--keep", "3", option, tmp_path / "out", "-o", tmp_path / "new", "-q"]
    assert spawn("select", tmp_path / "table", *few).code == 0


def test_a_background_job_does_not_hear_ctrl_c(tmp_path):
    process = start(
        *("quota", "-", "--keep", "3", "--method", "uniform", "-o", tmp_path / "out"),
        stdin=-1,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    process.stdin = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3 and b"standard input is empty" in err
