"""A disk that is full, at every write of every command: a real file system of a few hundred kilobytes."""

from __future__ import annotations

import pytest
from processes import Launcher

CPU = "--model tiny --epochs 2 --device cpu"
# What is written, and by what command; the words in capitals are inputs.
LIGHT = {
    "quota table": "quota SHARDS --keep 30 -m uniform -o DISK/out",
    "quotas as CSV": "quota SHARDS --keep 30 -m uniform -o DISK/out --quotas DISK/quotas.csv",
    "quotas as JSON": "quota SHARDS --keep 30 -m uniform -o DISK/out --quotas DISK/quotas.json",
    "quotas as Parquet": "quota SHARDS --keep 30 -m uniform -o DISK/out --quotas DISK/quotas.parquet",
    "select table": "select SHARDS --by random --keep 30 -o DISK/out",
    "shards of shards": "select SHARDS --by random --keep 30 --shards DISK/shards -o DISK/out",
    "shards of files": "select FILES --by random --keep 30 --shards DISK/shards -o DISK/out",
    "folder and keys": "select SHARDS --by random --keep 9 --folder DISK/f --keys DISK/keys -o DISK/out",
}
HEAVY = {
    "score table": "score IMAGES -m random -o DISK/out",
    "score, all outputs": (
        "score IMAGES -m aum -o DISK/out --record-trajectory DISK/log --record-features DISK/features "
        f"--save-model DISK/run {CPU}"
    ),
    "run folder": f"train IMAGES -o DISK/run {CPU}",
    "predictions": "evaluate RUN IMAGES -o DISK/out",
}


def open_disk(kind, tmp_path_factory):
    place = tmp_path_factory.mktemp("disk")
    launcher = Launcher(tmp_path_factory.mktemp("launcher"), kind, (place, "4m"))
    if not launcher.works:
        pytest.skip("no small file system can be mounted here (unshare -rm, mount -t tmpfs)")
    return launcher, place


@pytest.fixture(scope="session")
def light_disk(tmp_path_factory):
    """A launcher without torch that sees a disk of a few megabytes, and where."""
    launcher, place = open_disk("light", tmp_path_factory)
    yield launcher, place
    launcher.close()


@pytest.fixture(scope="session")
def heavy_disk(tmp_path_factory):
    """The same with torch."""
    launcher, place = open_disk("heavy", tmp_path_factory)
    yield launcher, place
    launcher.close()


# Bytes that are free: nothing, a little, enough; and so many more each time that every write is hit.
FEW = (0, 8192, 1 << 22)
DOUBLING = (0, *(4096 << number for number in range(11)))
MANY = (*range(0, 1 << 16, 4096), *range(1 << 16, 1 << 18, 1 << 14), 1 << 22)


def check(disk, words, rooms, state=()):
    """Run a command with more and more room until it succeeds, first anew and then over its own outputs.

    Args:
        disk: a launcher and its disk.
        words: the command.
        rooms: bytes that are free.
        state: names of what may be left for the same command to go on from.
    """
    launcher, place = disk
    launcher.ask("clear", place, [])
    options = {"folder": place}
    whole = launcher.run(*words, "-q", **options)
    assert whole.code == 0, whole.err
    expected = launcher.ask("contents", place)
    failed = 0
    for force in ([], ["--force"]):
        before = expected if force else {}
        launcher.ask("clear", place, [*{name.split("/")[0] for name in before}])
        for room in rooms:
            launcher.ask("fill", place, room)
            done = launcher.run(*words, "-q", *force, **options)
            found = launcher.ask("contents", place)
            found.pop("filler")
            if done.code == 0:
                break
            assert done.code == 1, done.err
            assert done.line.startswith(f"cannot write {place}/") and done.line.endswith(
                ": No space left on device"
            )
            left = {name: digest for name, digest in found.items() if not name.startswith(tuple(state))}
            assert left == before
            failed += 1
        assert done.code == 0, done.err
        assert found == expected
    assert failed >= 2


def test_a_full_disk(light_disk, tables):
    check(light_disk, fill(LIGHT["folder and keys"], light_inputs(tables), light_disk[1]), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("what", LIGHT)
def test_a_full_disk_at_every_write(light_disk, tables, what):
    check(light_disk, fill(LIGHT[what], light_inputs(tables), light_disk[1]), MANY)


def light_inputs(tables):
    return {"SHARDS": tables / "shards.parquet", "FILES": tables / "files.parquet"}


@pytest.mark.slow
@pytest.mark.parametrize("what", HEAVY)
def test_a_full_disk_with_a_model(heavy_disk, trained, image_folder, what):
    words = fill(HEAVY[what], {"IMAGES": image_folder, "RUN": trained}, heavy_disk[1])
    check(heavy_disk, words, DOUBLING, state=(".run.part", ".out.resume", ".log.parts", ".features.parts"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, launcher, image_folder):
    place = tmp_path_factory.mktemp("trained")
    done = launcher.run("train", image_folder, "-o", "run", *CPU.split(), folder=place)
    assert done.code == 0, done.err
    return place / "run"


def fill(line, inputs, disk):
    return [str(inputs.get(word, word)).replace("DISK/", f"{disk}/") for word in line.split()]
