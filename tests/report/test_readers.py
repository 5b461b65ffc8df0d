"""Data sets with cards, read by the packages that the cards name, with the code that the cards give.

Those that are large run in processes of their own, without a network; `pip install dprune-cli[readers]`
brings them.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import QUICK, must
from described import NAMES, digest, python_of, run_webdataset, select, subject_of, write_images, write_shard
from PIL import Image

from dprune_cli.core.progress import Silent
from dprune_cli.report.cards.croissant import describe_shards
from dprune_cli.report.cards.data_card import card_of_shards
from dprune_cli.stages.output_contents import look_into_shards

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
TAIL = """
import hashlib, json
import numpy

def tell(rows):
    found = [
        (key, label, hashlib.sha256(numpy.asarray(image.convert("RGB")).tobytes()).hexdigest())
        for key, label, image in rows
    ]
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A folder with `data`, and 12 of its 16 images as `shards` and as `folder`; what is known of them."""
    home = tmp_path_factory.mktemp("described")
    known = write_images(home / "data")
    kept = select(home, "--keep 12 --shard-samples 5 --shards", home / "shards", "--folder", home / "folder")
    assert len(kept) == 12
    return home, {key: known[key] for key in kept}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """Images pruned as `folder` and as `shards`, other files beside them; what is known of all images."""
    home = tmp_path_factory.mktemp("pruned")
    known = write_images(home / "data")
    select(home, "--keep 1.0 --shards", home / "all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        for source, form in (("data", "folder"), ("all", "shards")):
            must("prune", home / source, "--keep 12 --card -o", home / form, *QUICK)
            assert (home / form / "kept.parquet").exists() and (home / form / "validation.parquet").exists()
            (home / form / "report.html").write_text("<p>")
            shutil.copyfile(home / "data" / NAMES[0] / "0.png", home / form / "preview.png")
    return home, known


def kept_of(pruned, form):
    """What is known of the images that were kept of `pruned`."""
    home, known = pruned
    table = pq.read_table(home / form / "kept.parquet")
    kept = table.filter(table["keep"])["key"].to_pylist()
    assert len(kept) == 12
    return {key: known[key] for key in kept}


def read(folder, package, tail, tmp_path):
    """What the code of a card and `tail` tell, run in its folder by a process of its own."""
    code = python_of((folder / "README.md").read_text(), package)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}{TAIL}{tail}"],
        cwd=folder,
        env={
            **os.environ,
            **OFFLINE,
            "HF_HOME": str(tmp_path),
            "CROISSANT_CACHE": str(tmp_path / "croissant"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed; it is in the extra readers")


def test_webdataset_reads_the_shards_with_the_code_of_the_card(described, monkeypatch):
    home, known = described
    monkeypatch.chdir(home / "shards")
    card = Path("README.md").read_text()
    found = [(label, digest(np.asarray(image))) for image, label in run_webdataset(card)]
    assert sorted(found) == sorted(known.values())
    with_keys = card.replace('.to_tuple("png", "cls")', '.to_tuple("__key__", "png", "cls")')
    assert {
        key: (label, digest(np.asarray(image))) for key, image, label in run_webdataset(with_keys)
    } == known


def test_image_folder_reads_the_folder_with_the_code_of_the_card(described, monkeypatch):
    home, known = described
    monkeypatch.chdir(home / "folder")
    scope = {}
    exec(python_of((home / "folder" / "README.md").read_text(), "torchvision"), scope)
    samples = scope["samples"]
    found = {}
    for (path, _), (image, label) in zip(samples.samples, samples, strict=True):
        name = samples.classes[label]
        key = path.removeprefix("./").removesuffix(".png")
        found[key] = (NAMES.index(name), digest(np.asarray(image)))
    assert found == known


def test_dprune_reads_folders_with_cards_in_them(described, tmp_path):
    home, known = described
    for form in ("shards", "folder"):
        must("score", home / form, "-m random -o", tmp_path / f"{form}.parquet")
        table = pq.read_table(tmp_path / f"{form}.parquet")
        assert set(table["key"].to_pylist()) == set(known)


DATASETS_SHARDS = """
names = samples.features["cls"].names
tell((row["__key__"], names[row["cls"]], row["png"]) for row in samples)
"""


@pytest.mark.slow
@needs("datasets")
def test_datasets_reads_shards(described, tmp_path):
    home, known = described
    found = read(home / "shards", "datasets", DATASETS_SHARDS, tmp_path)
    assert {key: (NAMES.index(name), pixels) for key, name, pixels in found} == known


@pytest.mark.slow
@needs("datasets")
def test_datasets_reads_pruned_shards_whatever_is_beside_them(pruned, tmp_path):
    home, _ = pruned
    found = read(home / "shards", "datasets", DATASETS_SHARDS, tmp_path)
    assert {key: (NAMES.index(name), pixels) for key, name, pixels in found} == kept_of(pruned, "shards")


@pytest.mark.slow
@needs("datasets")
def test_datasets_reads_shards_of_two_kinds_of_images(tmp_path):
    known = write_images(tmp_path / "data")
    for number, path in enumerate(sorted((tmp_path / "data").rglob("*.png"))):
        if number % 3 == 0:
            path.rename(path.with_suffix(".bmp"))
            path.with_suffix(".bmp").write_bytes(_as_bmp(path.with_suffix(".bmp")))
    select(tmp_path, "--keep 1.0 --shards", tmp_path / "shards")
    tail = """
names = samples.features["cls"].names
tell((row["__key__"], names[row["cls"]], row["png"] or row["bmp"]) for row in samples)
"""
    found = read(tmp_path / "shards", "datasets", tail, tmp_path)
    assert {key: (NAMES.index(name), pixels) for key, name, pixels in found} == known


def _as_bmp(path):
    content = io.BytesIO()
    Image.open(path).save(content, "BMP")
    return content.getvalue()


DATASETS_FOLDER = """
names = samples.features["label"].names
rows = samples.cast_column("image", datasets.Image(decode=False))
paths = [row["image"]["path"] for row in rows]
tell((path, names[row["label"]], row["image"]) for path, row in zip(paths, samples, strict=True))
"""


def by_datasets(folder, tmp_path):
    """What datasets reads of an image folder, as it is known."""
    found = read(folder, "datasets", DATASETS_FOLDER, tmp_path)
    return {
        path.removeprefix(f"{folder}/").removesuffix(".png"): (NAMES.index(name), pixels)
        for path, name, pixels in found
    }


@pytest.mark.slow
@needs("datasets")
@pytest.mark.parametrize("empty", [False, True])
def test_datasets_reads_a_folder(described, tmp_path, empty):
    home, known = described
    folder = home / "folder"
    if empty:
        # With a class that nothing is kept of, the numbers of folders are no longer the ids.
        known = write_images(tmp_path / "data")
        shutil.rmtree(tmp_path / "data" / NAMES[1])
        (tmp_path / "data" / NAMES[1]).mkdir()
        kept = select(tmp_path, "--keep 1.0 --folder", tmp_path / "folder")
        known, folder = {key: known[key] for key in kept}, tmp_path / "folder"
    assert by_datasets(folder, tmp_path) == known


@pytest.mark.slow
@needs("datasets")
def test_datasets_reads_a_pruned_folder_whatever_is_beside_the_classes(pruned, tmp_path):
    home, _ = pruned
    assert by_datasets(home / "folder", tmp_path) == kept_of(pruned, "folder")


@pytest.mark.slow
@needs("timm")
def test_timm_reads_shards(described, tmp_path):
    home, known = described
    tail = """
assert len(samples) == 12
tell(("", label, image) for image, label in samples)
"""
    found = read(home / "shards", "timm.data", tail, tmp_path)
    assert sorted((label, pixels) for _, label, pixels in found) == sorted(known.values())


MLCROISSANT = """
issues = mlcroissant.Dataset("croissant.json").metadata.ctx.issues
assert not issues.errors, issues.errors
rows = list(records)
if "samples/path" in rows[0]:
    classes = mlcroissant.Dataset("croissant.json").records("classes")
    ids = {row["classes/folder"]: row["classes/id"] for row in classes}
    for row in rows:
        row["samples/key"] = row["samples/path"].removesuffix(b".png")
        row["samples/label"] = ids[row["samples/folder"].decode()]
tell((row["samples/key"].decode(), row["samples/label"], row["samples/image"]) for row in rows)
"""


@pytest.mark.slow
@needs("mlcroissant")
@pytest.mark.parametrize("form", ["shards", "folder"])
def test_mlcroissant_validates_and_reads(described, tmp_path, form):
    home, known = described
    found = read(home / form, "mlcroissant", MLCROISSANT, tmp_path)
    assert {key: (label, pixels) for key, label, pixels in found} == known


@pytest.mark.slow
@needs("mlcroissant")
@pytest.mark.parametrize("form", ["shards", "folder"])
def test_mlcroissant_reads_what_was_pruned_whatever_is_beside_it(pruned, tmp_path, form):
    home, _ = pruned
    found = read(home / form, "mlcroissant", MLCROISSANT, tmp_path)
    assert {key: (label, pixels) for key, label, pixels in found} == kept_of(pruned, form)


ENERGON = """
import io
from dataclasses import dataclass
from PIL import Image
from megatron import energon

@dataclass
class Labelled(energon.Sample):
    png: bytes
    cls: bytes

@energon.stateless
def cook(sample):
    return Labelled(**energon.basic_sample_keys(sample), png=sample["png"], cls=sample["cls"])

class Task(energon.DefaultTaskEncoder):
    cookers = [energon.Cooker(cook)]
    decoder = None

worker = energon.WorkerConfig(rank=0, world_size=1, num_workers=0)
sizes = {"batch_size": None, "shuffle_buffer_size": None, "max_samples_per_sequence": None}
samples = energon.get_train_dataset(".", worker_config=worker, task_encoder=Task(), repeat=False, **sizes)
rows = list(energon.get_loader(samples))
tell((row.__key__.split(".tar/")[-1], int(row.cls), Image.open(io.BytesIO(row.png))) for row in rows)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("megatron") is None,
    reason="megatron-energon is not installed; it wants an environment of its own",
)
def test_energon_prepares_and_reads_shards(described, tmp_path):
    home, known = described
    folder = shutil.copytree(home / "shards", tmp_path / "shards")
    command = next(line for line in (folder / "README.md").read_text().split("\n") if "energon " in line)
    words = [Path(sys.executable).with_name("energon"), *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "README.md").write_text("```python\nimport megatron\n```")
    found = read(folder, "megatron", ENERGON, tmp_path)
    assert {key: (label, pixels) for key, label, pixels in found} == known


VARIANTS = {
    "names": {"a/0.png": "png", "a/0.cls": b"bee", "b.png": "png", "b.cls": b"ant"},
    "other fields": {"a.png": "png", "a.seg.png": "png", "a.cls": b"1", "a.json": b"{}"},
    "spelling": {"a.PNG": "png", "a.cls": b"1", "c[1]*.png": "png", "c[1]*.cls": b"0"},
    "no labels": {"a.png": "png", "b/c.png": "png"},
    "nothing": {},
}


@pytest.mark.slow
@needs("mlcroissant")
@pytest.mark.parametrize("variant", VARIANTS)
def test_mlcroissant_reads_whatever_shards_hold(tmp_path, variant):
    image = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), 9, np.uint8)).save(image, "PNG")
    members = {
        name: image.getvalue() if content == "png" else content for name, content in VARIANTS[variant].items()
    }
    shards = [write_shard(tmp_path / "000000.tar", members)] if members else []
    names = ["ant", "bee"]
    values = [content.decode() for name, content in members.items() if name.endswith(".cls")]
    kept = np.bincount([names.index(one) if one in names else int(one) for one in values], minlength=2)
    contents = look_into_shards(tmp_path, shards, names, kept, Silent())
    (tmp_path / "croissant.json").write_text(json.dumps(describe_shards(subject_of(names, kept), contents)))
    (tmp_path / "README.md").write_text(card_of_shards(subject_of(names, kept), contents))
    if not shards:
        tail = 'tell([])\nassert not mlcroissant.Dataset("croissant.json").metadata.ctx.issues.errors'
        (tmp_path / "README.md").write_text("```python\nimport mlcroissant\n```")
        assert read(tmp_path, "mlcroissant", tail, tmp_path) == []
        return
    tail = """
rows = [(row["samples/key"].decode(), row.get("samples/label"), row["samples/image"]) for row in records]
tell((key, label.decode() if isinstance(label, bytes) else label, image) for key, label, image in rows)
"""
    found = read(tmp_path, "mlcroissant", tail, tmp_path)
    labels = {name[:-4]: content.decode() for name, content in members.items() if name.endswith(".cls")}
    wanted = {name[:-4] for name in members if name.lower().endswith(".png") and "seg" not in name}
    pixels = digest(np.full((2, 2, 3), 9, np.uint8))
    assert {(key, str(label), image) for key, label, image in found} == {
        (key, str(labels.get(key)), pixels) for key in wanted
    }
