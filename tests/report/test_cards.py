"""What `dprune select --card` writes beside samples; `test_readers.py` has others read it."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from commands import call, contents, must
from described import NAMES, SIZES, run_webdataset, select, subject_of, write_images, write_shard
from hypothesis import given
from hypothesis import strategies as st
from many import call_together
from markdown_it import MarkdownIt
from PIL import Image

from dprune_cli.core.progress import Silent
from dprune_cli.io.tar_plan import Shard
from dprune_cli.metrics.coverage import Coverage
from dprune_cli.report.cards.croissant import describe_folder, describe_shards
from dprune_cli.report.cards.data_card import card_of_folder, card_of_shards
from dprune_cli.report.cards.front_matter import front_matter
from dprune_cli.report.cards.markdown import fenced, plain
from dprune_cli.report.cards.subject import Subject
from dprune_cli.stages.output_contents import (
    FolderContents,
    ShardContents,
    look_into_folder,
    look_into_shards,
)
from dprune_cli.stages.select import Left

CARDS = {"README.md", "croissant.json"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """12 of 16 images as `shards` and `folder`, and what is known of all."""
    home = tmp_path_factory.mktemp("selected")
    known = write_images(home / "data")
    kept = select(home, "--keep 12 --shard-samples 5 --shards", home / "shards", "--folder", home / "folder")
    return home, {key: known[key] for key in kept}


def head_of(card):
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


def cells_of(card):
    """The cells of the first table, as a reader sees them."""
    page = MarkdownIt("commonmark").enable("table").render(card.split("\n---\n", 1)[1])
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows[1:]]


def look(tmp_path, samples, classes, kept, label_field=None):
    shard = write_shard(tmp_path / "000000.tar", samples)
    return look_into_shards(tmp_path, [shard], classes, np.array(kept), Silent(), label_field=label_field)


def test_a_card_is_written_into_every_folder_and_only_if_asked_for(selected, tmp_path):
    home, _ = selected
    assert {path.name for path in (home / "shards").iterdir()} - CARDS == {
        *("000000.tar", "000001.tar", "000002.tar", "classes.txt", "index.json", "_info.json")
    }
    assert {path.name for path in (home / "folder").iterdir() if path.is_file()} == CARDS
    must("select", home / "scores.parquet", "--by random --keep 12 --shards", tmp_path / "plain")
    assert not CARDS & {path.name for path in (tmp_path / "plain").iterdir()}


@pytest.mark.parametrize("words", ["", "--shards -", "--shards - --folder there", "--keys keys.txt"])
def test_a_card_needs_a_folder_of_samples(selected, tmp_path, words):
    home, _ = selected
    done = call(
        "select", home / "scores.parquet", "--by random --keep 3 --card -o", tmp_path / "t", *words.split()
    )
    assert done.code == 2
    assert done.line == "--card describes a folder of samples; give --shards DIR or --folder DIR"
    assert not list(tmp_path.iterdir())


def test_the_same_selection_has_the_same_cards_that_name_nobodys_folders(selected, tmp_path):
    home, _ = selected
    for name in ("a", "b"):
        must(
            *("select", home / "scores.parquet", "--by random --keep 9 --card"),
            *("--shards", tmp_path / name / "s", "--folder", tmp_path / name / "f"),
        )
    found = {path.removeprefix(f"{tmp_path}/"): digest for path, digest in contents(tmp_path).items()}
    assert {path[2:]: digest for path, digest in found.items() if path[0] == "a"} == {
        path[2:]: digest for path, digest in found.items() if path[0] == "b"
    }
    for path in [*tmp_path.glob("a/*/README.md"), *tmp_path.glob("a/*/*.json")]:
        assert not re.search(r"/tmp|/home|/root", path.read_text()), path


def test_a_source_is_named_as_it_was_typed_if_that_is_no_absolute_path(selected, tmp_path, monkeypatch):
    home, _ = selected
    assert "dprune score DATA -m random" in (home / "shards/README.md").read_text()
    (tmp_path / "photos").symlink_to(home / "data")
    monkeypatch.chdir(tmp_path)
    must("score photos -m random -o t.parquet")
    must("select t.parquet --by random --keep 4 --card --shards out -o k.parquet")
    card = (tmp_path / "out/README.md").read_text()
    assert "It was read from photos." in card and "dprune score photos -m random" in card


def test_the_front_matter_names_files_and_classes_whatever_they_are_called(selected):
    home, known = selected
    head = head_of((home / "shards/README.md").read_text())
    assert head["license"] == "unknown"
    assert (head["task_categories"], head["size_categories"]) == (["image-classification"], ["n<1K"])
    assert head["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}
    ]
    types = {feature["name"]: feature["dtype"] for feature in head["dataset_info"]["features"]}
    names = {str(number): name for number, name in enumerate(NAMES)}
    assert types == {
        "png": "image",
        "cls": {"class_label": {"names": names}},
        "__key__": "string",
        "__url__": "string",
    }
    head = head_of((home / "folder/README.md").read_text())
    label = head["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]
    assert list(label.values()) == sorted({key.rpartition("/")[0] for key in known})
    assert head["configs"][0]["drop_labels"] is False


def test_the_table_of_classes_shows_names_as_they_are(selected):
    home, known = selected
    labels = [label for label, _ in known.values()]
    rows = cells_of((home / "shards/README.md").read_text())
    assert [row[:4] for row in rows] == [
        [name, str(number), str(SIZES[number]), str(labels.count(number))]
        for number, name in enumerate(NAMES)
    ]


def test_croissant_has_the_digest_of_every_shard_and_the_source(selected):
    home, _ = selected
    found = json.loads((home / "shards/croissant.json").read_text())
    objects = [one for one in found["distribution"] if one["@type"] == "cr:FileObject"]
    assert len(objects) == 3
    for one in objects:
        content = (home / "shards" / one["contentUrl"]).read_bytes()
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        assert one["contentSize"] == f"{len(content)} B"
    meta = json.loads(pq.read_schema(home / "kept.parquet").metadata[b"dprune"])
    assert found["prov:wasDerivedFrom"]["@id"] == f"urn:dprune:{meta['fingerprint']}"
    steps = [step["prov:label"] for step in found["prov:wasGeneratedBy"]]
    assert steps == ["dprune score", "dprune select"]
    assert "nknown" in found["license"]["name"] and "datePublished" not in found


def test_timm_is_told_the_samples_of_every_shard(selected):
    home, _ = selected
    assert json.loads((home / "shards/_info.json").read_text())["splits"]["train"] == {
        "name": "train",
        "num_samples": 12,
        "filenames": ["000000.tar", "000001.tar", "000002.tar"],
        "shard_lengths": [5, 5, 2],
    }


def test_a_card_of_nothing_says_so(selected, tmp_path):
    home, _ = selected
    table = pq.read_table(home / "scores.parquet")
    nothing = table.append_column("quota", pa.array([0] * len(table), pa.int64()))
    pq.write_table(nothing, tmp_path / "t.parquet")
    words = ["--shards", tmp_path / "s", "--folder", tmp_path / "f", "-o", tmp_path / "k.parquet"]
    must("select", tmp_path / "t.parquet", "--by random --card", *words)
    for form in "sf":
        card = (tmp_path / form / "README.md").read_text()
        assert "There are no samples." in card and "configs" not in head_of(card)
        assert "image-files" not in (tmp_path / form / "croissant.json").read_text()


@given(st.dictionaries(st.just("name") | st.text("0123456789", min_size=1), TEXT | st.lists(TEXT)))
def test_yaml_reads_every_text_of_the_front_matter_as_itself(values):
    assert yaml.safe_load("\n".join(front_matter(values).split("\n")[1:-2]) or "{}") == (values or {})
    # The readers of the hub split lines as Python does.
    assert front_matter(values).splitlines().count("---") == 2


@given(TEXT)
def test_markdown_shows_every_printable_text_as_itself(text):
    text = " ".join("".join(sign for sign in text if sign.isprintable()).split())
    page = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .render(f"| a |\n|---|\n| {plain(text)} |\n")
    )
    found = re.search(r"<td>(.*?)</td>", page, re.DOTALL)
    assert html.unescape(found[1]).strip() == text


def test_code_cannot_end_its_own_block():
    assert fenced("a\n```\nb").startswith("````\n") and fenced("a\n```\nb").endswith("\n````\n")


@pytest.mark.parametrize(
    ("labels", "kept", "kind"),
    [
        ([b"0", b"2", b"2"], [1, 0, 2], "ids"),
        ([b"ant", b"cat", b"cat\n"], [1, 0, 2], "names"),
        ([b"0", b"cat", b"2"], [1, 0, 2], "other"),
        ([b"0", b"2", b"2"], [2, 0, 1], "other"),
        ([b"0", b"7", b"2"], [1, 0, 2], "other"),
        ([None, None, None], [1, 0, 2], "none"),
    ],
)
def test_labels_are_what_the_shards_hold(tmp_path, labels, kept, kind):
    samples = {}
    for number, label in enumerate(labels):
        samples[f"a/{number}.jpg"] = b"x"
        if label is not None:
            samples[f"a/{number}.cls"] = label
    assert look(tmp_path, samples, ["ant", "bee", "cat"], kept).label_kind == kind


def test_fields_are_spelled_as_in_the_shards(tmp_path):
    samples = {"a.JPG": b"x", "a.seg.jpg": b"x", "a.cls": b"0", "a.json": b"{}", "b.png": b"x", "b.cls": b"0"}
    found = look(tmp_path, samples, ["ant"], [2])
    assert (found.images, found.labels, found.others) == (["JPG", "png"], ["cls"], ["json", "seg.jpg"])


def contents_of(**given_):
    values = {"images": ["jpg"], "labels": ["cls"], "others": [], "label_kind": "ids"} | given_
    return ShardContents([Shard("000000.tar", 3, 4096)], ["0" * 64], **values)


def test_types_are_left_to_the_reader_where_not_all_are_known():
    subject = subject_of(["ant", "bee"], [1, 2])
    assert "dataset_info" in head_of(card_of_shards(subject, contents_of()))
    for unknown in ({"others": ["json"]}, {"label_kind": "names"}, {"label_kind": "other"}, {"images": []}):
        assert "dataset_info" not in head_of(card_of_shards(subject, contents_of(**unknown)))


def test_shards_with_class_names_are_read_without_those_that_want_integers(tmp_path, monkeypatch):
    pixels = np.full((2, 2, 3), 9, np.uint8)
    image = io.BytesIO()
    Image.fromarray(pixels).save(image, "PNG")
    samples = {"a.png": image.getvalue(), "a.cls": b"bee"}
    card = card_of_shards(subject_of(["ant", "bee"], [0, 1]), look(tmp_path, samples, ["ant", "bee"], [0, 1]))
    assert "import timm" not in card and "import datasets" not in card
    monkeypatch.chdir(tmp_path)
    ((found, label),) = run_webdataset(card)
    assert (np.asarray(found) == pixels).all() and label == b"bee"


@pytest.mark.parametrize(
    ("field", "content", "others", "label"),
    [
        ("klass", {"klass": "bee"}, {}, "bee"),
        ("klass", {"klass": 1}, {"cls": b"of something else"}, 1),
        ('it\'s "a".b\\', {'it\'s "a"': {"b\\": "bee"}}, {"meta.json": b"{}"}, "bee"),
        ("a.b", {"a.b": "bee", "a": {"b": "ant"}}, {"cls": b"0"}, "bee"),
    ],
)
def test_labels_of_a_field_are_read_out_of_the_json_members(
    tmp_path, monkeypatch, field, content, others, label
):
    pixels = np.full((2, 2, 3), 9, np.uint8)
    image = io.BytesIO()
    Image.fromarray(pixels).save(image, "PNG")
    members = {"png": image.getvalue(), "JSON": json.dumps(content).encode(), **others}
    found = look(tmp_path, {f"x.{name}": one for name, one in members.items()}, ["ant", "bee"], [0, 1], field)
    card = card_of_shards(subject_of(["ant", "bee"], [0, 1], reading={"label_field": field}), found)
    monkeypatch.chdir(tmp_path)
    ((shown, value),) = run_webdataset(card)
    assert (np.asarray(shown) == pixels).all() and value == label


def test_labels_beside_those_of_a_label_field_are_none(tmp_path):
    samples = {"a.png": b"x", "a.cls": b"1", "a.json": b'{"klass": 0}'}
    samples |= {"b.png": b"x", "b.cls": b"0", "b.json": b'{"klass": 1}'}
    assert look(tmp_path, samples, ["ant", "bee"], [1, 1]).label_kind == "ids"
    found = look(tmp_path, samples, ["ant", "bee"], [1, 1], "klass")
    assert found.label_kind == "other"
    subject = subject_of(["ant", "bee"], [1, 1], reading={"label_field": "klass"})
    assert "import timm" not in card_of_shards(subject, found)
    assert "samples/label" not in json.dumps(describe_shards(subject, found))


def test_a_label_field_is_named_for_a_shell_and_for_markdown():
    subject = subject_of(["ant"], [3], reading={"label_field": "a`b c"})
    card = card_of_shards(subject, contents_of(labels=[], others=["json"], label_kind="none"))
    assert "dprune train . --label-field 'a`b c' -o RUN" in card and "a\\`b c" in card


def test_files_that_only_end_like_images_are_excluded_from_them():
    found = describe_shards(subject_of(["ant"], [3]), contents_of(others=["json", "seg.jpg"]))
    images = next(one for one in found["distribution"] if one["@id"] == "image-files")
    assert images["includes"] == ["*.jpg", "**/*.jpg"]
    assert images["excludes"] == ["*.seg.jpg", "**/*.seg.jpg"]


def test_files_beside_images_are_none_of_them(tmp_path):
    for name in ("ant/0.png", "ant/1.JPG", "bee/2.png", "cat/notes.txt", "bee/.3.png", ".thumbs/4.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for name in ("kept.parquet", "report.html", "preview.bmp", "README"):
        (tmp_path / name).write_bytes(b"x")
    found = look_into_folder(tmp_path)
    assert found == FolderContents(3, ["JPG", "png"], ["ant", "bee"], flat=True)
    subject = subject_of(["ant", "bee"], [2, 1])
    card = card_of_folder(subject, found)
    assert "written as 2 class folders" in card
    (config,) = head_of(card)["configs"]
    assert config["drop_labels"] is False
    assert config["data_files"] == [{"split": "train", "path": ["*/**/*.JPG", "*/**/*.png"]}]
    (images,) = describe_folder(subject, found)["distribution"]
    assert images["encodingFormat"] == ["image/jpeg", "image/png"]
    assert images["includes"] == ["*/*.JPG", "*/**/*.JPG", "*/*.png", "*/**/*.png"]


def test_images_in_folders_of_their_class_folder_are_images(tmp_path):
    for name in ("ant/0.png", "ant/old/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = look_into_folder(tmp_path)
    assert found == FolderContents(2, ["png"], ["ant"], flat=False)
    assert head_of(card_of_folder(subject_of(["ant"], [2]), found))["configs"][0]["drop_labels"] is True


def test_of_many_classes_the_table_has_the_first():
    names = [f"c{number}" for number in range(1000)]
    card = card_of_shards(subject_of(names, list(range(1000))), contents_of())
    assert card.count("\n| c") == 101  # with its heading
    assert "The first 100 of 1,000." in card
    assert len(head_of(card)["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]) == 1000


def test_groups_have_a_table_of_their_own():
    subject = subject_of(["ant"], [3])
    groups = Left("group", ["land", "water"], Coverage(np.array([2, 2]), np.array([1, 2])), None)
    card = card_of_shards(Subject(subject.classes, groups, subject.meta), contents_of())
    assert "| group | id | available | kept | density |" in card and "| water | 1 | 2 | 2 |" in card


@pytest.mark.parametrize("root", ["/home/annika/photos", "~/photos", "s3://annika@b/photos", ["a", "/b"]])
def test_roots_that_say_more_than_they_should_are_left_out(root):
    steps = [{"command": "evaluate", "options": {"run": "/home/annika/run"}}]
    subject = subject_of(["ant"], [3], root=root, steps=steps, fingerprint="forged: x")
    found = card_of_shards(subject, contents_of()) + json.dumps(describe_shards(subject, contents_of()))
    assert not re.search("annika|photos|/b|forged", found)
    assert "wasDerivedFrom" not in found


@pytest.mark.slow
def test_of_several_processes_one_writes_the_cards(selected, tmp_path):
    home, _ = selected
    options = "--by random --keep 12 --card --shard-samples 3".split()  # noqa: SIM905 - as it is typed
    for size in (1, 2):
        here = tmp_path / str(size)
        places = ["--shards", here / "s", "--folder", here / "f", "-o", tmp_path / f"{size}.parquet"]
        done = call_together(size, "select", home / "scores.parquet", *options, *places)
        assert [one.code for one in done] == [0] * size
    found = [
        {path.relative_to(tmp_path / size): path.read_bytes() for path in (tmp_path / size).rglob("*.*")}
        for size in "12"
    ]
    assert found[0] == found[1] and len(found[0]) == 4 + 3 + 2 + 2 + 12
