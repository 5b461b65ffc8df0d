"""Ctrl-C and SIGTERM at many moments of commands that are busy: all end within two seconds."""

from __future__ import annotations

import signal
import time
from getpass import getuser

import pytest
from large_inputs import repeat_samples, write_features, write_photos, write_table
from launcher import contents

pytestmark = pytest.mark.slow

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
CPU = "--device cpu"
# What each keeps busy, and the command; the words in capitals are inputs, TMP is where outputs go.
BUSY = {
    "decoding": f"score PHOTOS -m random -o TMP/out {CPU}",
    "training steps of many seconds": (
        f"train PHOTOS -o TMP/out --model resnet18 --image-size 128 --batch-size 190 --epochs 1 {CPU}"
    ),
    "short epochs": f"train IMAGES -o TMP/out --model tiny --epochs 200 {CPU}",
    "training for scores": (
        f"score IMAGES -m aum -m el2n -o TMP/out --save-model TMP/run --record-trajectory TMP/log "
        f"--model tiny --epochs 100 {CPU}"
    ),
    "k-center": f"score --from-features FEATURES -m k_center -o TMP/out {CPU}",
    "herding": f"score --from-features FEATURES -m herding -o TMP/out {CPU}",
    "evaluating": f"evaluate RUN PHOTOS -o TMP/out {CPU}",
    "quotas": "quota TABLE --keep 0.5 -m uniform -o TMP/out",
    "selecting": "select TABLE --by el2n --keep 0.5 -o TMP/out --keys TMP/keys",
    "packing shards": "select REPEATED --by random --keep 1.0 --shards TMP/out -o TMP/table",
}
# What may be left beside the outputs: what the same command goes on from.
RESUMABLE = (".out.part", ".out.resume", ".log.parts")
STATELESS = ("decoding", "k-center", "herding", "evaluating", "quotas", "selecting", "packing shards")


@pytest.fixture(scope="module")
def given(tmp_path_factory, image_folder, launcher):
    """The inputs by name."""
    place = tmp_path_factory.mktemp("large")
    run = launcher.run("train", image_folder, "-o", "run", "--model", "tiny", "--epochs", "1", folder=place)
    scored = launcher.run("score", image_folder, "-m", "random", "-o", "t", folder=place)
    assert run.code == scored.code == 0, run.err + scored.err
    return {
        "PHOTOS": write_photos(place / "photos"),
        "IMAGES": image_folder,
        "FEATURES": write_features(place / "features"),
        "TABLE": write_table(place / "table"),
        "REPEATED": repeat_samples(place / "t", place / "repeated", 1500),
        "RUN": place / "run",
    }


def fill(line, given, place):
    return [
        str({**given, "TMP": place}.get(word, word)).replace("TMP/", f"{place}/") for word in line.split()
    ]


@pytest.mark.parametrize("busy", BUSY)
def test_a_signal_ends_every_command_within_two_seconds(tmp_path, launcher, given, busy):
    words = fill(BUSY[busy], given, tmp_path / "0")
    whole = launcher.run(*words, folder=tmp_path, TMPDIR=str(tmp_path))
    assert whole.code == 0, whole.err
    slowest = 0.0
    for number, stop in enumerate([signal.SIGINT, signal.SIGTERM] * 3, 1):
        place = tmp_path / str(number)
        launcher.start(*fill(BUSY[busy], given, place), folder=tmp_path, TMPDIR=str(tmp_path))
        time.sleep(whole.seconds * (number - 0.5) / 6)
        sent = time.monotonic()
        launcher.signal(stop)
        ended = launcher.end()
        took = time.monotonic() - sent
        if ended.code in (0, -stop):  # done already, or Python was putting itself away
            assert (place / "out").exists()
            continue
        slowest = max(slowest, took)
        assert ended.code == CODES[stop], ended.err
        assert ended.err.splitlines()[-1] == "dprune: interrupted" and "Traceback" not in ended.err
        left = [path.name for path in place.iterdir()] if place.exists() else []
        assert [name for name in left if name.startswith(".") and name not in RESUMABLE] == []
        if busy in STATELESS:
            assert left == []
        assert took < 2
    print(f"{busy}: {whole.seconds:.1f} s undisturbed, {slowest:.2f} s from a signal to the end at most")
    # The one folder is torch's own, and stays after every command that trains.
    assert {path.name for path in tmp_path.iterdir()} <= {*map(str, range(7)), f"torchinductor_{getuser()}"}
    assert contents(tmp_path / "0")
