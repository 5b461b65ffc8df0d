"""Kill -9 at twenty moments of a command: the next start finishes, and nobody can tell the difference.

Half of the moments are spread over the time that the command takes, the others are just before it changes
something in a folder, renames above all. With `DPRUNE_KILL_TABLE=FILE` what was seen is appended to a file.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from launcher import contents

TINY = "--model tiny --device cpu --seed 3"
ALL = "--shards shards --shard-samples 5 --keys keys -o table"
COMMANDS = {
    "select --shards": f"select SHARDS --by random --keep 35 --shuffle {ALL}",
    "select --shards, replacing": f"select SHARDS --by random --keep 35 --force {ALL}",
    "select --shards of files": f"select FILES --by random --keep 35 {ALL}",
    "score": f"score IMAGES -m aum -m el2n -o table --epochs 12 {TINY}",
    "score, all outputs": (
        "score IMAGES -m aum -m el2n -o table --record-trajectory log --record-features features "
        f"--save-model run --epochs 12 {TINY}"
    ),
    "train": f"train IMAGES -o run --epochs 15 {TINY}",
    "train, replacing": f"train IMAGES -o run --epochs 15 --force {TINY}",
}


def test_kill_a_few_times(tmp_path, light_launcher, tables, image_folder):
    given = inputs(tables, image_folder)
    kill_often(tmp_path, light_launcher, "select --shards, replacing", given, spread=1, changes=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_kill_at_twenty_moments(tmp_path, launcher, tables, image_folder, name):
    kill_often(tmp_path, launcher, name, inputs(tables, image_folder), spread=10, changes=10)


def inputs(tables, image_folder):
    return {"SHARDS": tables / "shards.parquet", "FILES": tables / "files.parquet", "IMAGES": image_folder}


def kill_often(tmp_path, launcher, name, given, *, spread, changes):
    words = [str(given.get(word, word)) for word in COMMANDS[name].split()]
    force = "--force" in words
    log = tmp_path / "log"
    whole = prepare(tmp_path / "whole", launcher, words, force=force)
    done = launcher.run(*words, folder=whole, TMPDIR=str(tmp_path / "tmp"), watched=(log, -1))
    assert done.code == 0, done.err
    expected, temporary = contents(whole), os.listdir(tmp_path / "tmp")
    ends, events = zip(*(line.split(" ", 1) for line in log.read_text().splitlines()), strict=True)
    # Python takes a while to end after the last change, when nothing can be disturbed any more.
    moments = choose(name, float(ends[-1]) - launcher.began, events, spread, changes)
    for number, (what, seconds, event) in enumerate(moments):
        place = prepare(tmp_path / str(number), launcher, words, force=force)
        options = {"folder": place, "TMPDIR": str(tmp_path / "tmp")}
        launcher.start(*words, **options, watched=(log, -1 if event is None else event))
        if seconds is not None:
            time.sleep(seconds)
            launcher.signal(signal.SIGKILL)
        killed = launcher.end()
        assert killed.code == -9 or (seconds is not None and killed.code == 0), killed.err
        left = contents(place)
        again = launcher.run(*words, **options)
        found = contents(place)
        if again.code == 2 and "exists already" in again.err:
            # It was killed when all was done.
            left = {path: digest for path, digest in left.items() if not path.endswith(".unfinished")}
            assert left == expected, (what, again.err)
        else:
            assert again.code == 0, (what, again.err)
        same = found == expected
        report(name, what, ", ".join(summarise(left)) or "nothing", "identical" if same else "DIFFERENT")
        assert found == expected, what
        assert os.listdir(tmp_path / "tmp") == temporary, what


def prepare(place, launcher, words, *, force):
    """A folder to run in; what is to be replaced has come from the same command with another seed."""
    place.mkdir()
    (place.parent / "tmp").mkdir(exist_ok=True)
    if force:
        earlier = launcher.run(*words, "--seed", 77, folder=place)
        assert earlier.code == 0, earlier.err
    return place


def choose(name, duration, events, spread, changes):
    """What, after how many seconds, before which change: moments of all the time, and the last changes."""
    rng = random.Random(name)
    times = [duration * (number + rng.random()) / spread for number in range(spread)]
    late = list(range(len(events)))[-changes // 2 :]
    early = sorted(
        rng.sample(range(len(events) - len(late)), min(changes - len(late), len(events) - len(late)))
    )
    return [(f"after {seconds:.3f} s of {duration:.3f}", seconds, None) for seconds in times] + [
        (f"before change {event + 1} of {len(events)}, {events[event]}", None, event)
        for event in early + late
    ]


def summarise(left):
    """What lay there, the files of folders counted."""
    tops = sorted({name.split("/")[0] for name in left})
    inside = {top: sum(name.startswith(f"{top}/") for name in left) for top in tops}
    return [f"{top} ({count} inside)" if count else top for top, count in inside.items()]


def report(*columns):
    line = " | ".join(columns)
    print(line)
    if "DPRUNE_KILL_TABLE" in os.environ:
        with Path(os.environ["DPRUNE_KILL_TABLE"]).open("a") as file:
            file.write(line + "\n")
