"""The smallest inputs of what the cases beside this file have found, one test a fault."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from guards import bounded, deadline
from mutations import damage
from parquet_cases import features, score_table, to_bytes, trajectory
from PIL import Image

from dprune_cli.core.config import read_recipe
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.progress import Silent
from dprune_cli.data.decode import decode_image
from dprune_cli.data.memory import parse_memory
from dprune_cli.io.features import read_features
from dprune_cli.io.run_dir import CONFIG, RunConfig, read_config
from dprune_cli.io.sources import expand
from dprune_cli.io.table import read_table
from dprune_cli.io.tar_index import index_tar
from dprune_cli.io.trajectory import Trajectory
from dprune_cli.stages.quota import QuotaRequest, quota
from dprune_cli.train.checkpoint import load_state, save_state


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_name_that_claims_forty_gigabytes_is_not_allocated(tmp_path, kind):
    item = tarfile.TarInfo("a.jpg")
    item.type, item.size = kind, 40 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(item.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with bounded():
        members = index_tar(path)
    assert not len(members) and members.damage is not None


@pytest.mark.parametrize(
    "word",
    [
        "{{0..999}{0..999}{0..999},b}.tar",
        "{{0..9999}{0..9999}}.tar",
        "{{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b},c}x",
        "{0..99999}" * 500,
        "{" * 3000 + "}" * 3000,
        "{a," * 3000 + "}" * 3000,
    ],
    ids=range(6),
)
def test_a_pattern_is_counted_before_it_is_expanded(word):
    with deadline(1), pytest.raises(UsageError, match="expands to more than"):
        expand(word)


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("{a..c}{0..9}", 30),
        ("{1..9..3}", 3),
        ("x{a,b{c,d},}", 4),
        ("{a}{}", 1),
        ("{0..99999}", 100_000),
        ("\\{a,b\\}", 1),
    ],
)
def test_patterns_that_are_small_enough_are_expanded(word, count):
    assert len(expand(word)) == count


def test_an_amount_of_four_hundred_digits_is_none():
    with pytest.raises(UsageError, match="write an amount of memory"):
        parse_memory("9" * 400, "--cache-memory")


def test_an_animation_that_makes_no_sense_neither_warns_nor_spoils_the_image():
    target = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(target, "PNG")
    raw = target.getvalue()
    control = struct.pack(">I", 8) + b"acTL" + bytes(8) + struct.pack(">I", zlib.crc32(b"acTL" + bytes(8)))
    for place in (33, len(raw) - 12):
        assert (decode_image(raw[:place] + control + raw[place:], 8) == 200).all()


@pytest.mark.parametrize(
    "content",
    [
        {"version": "x"},
        {"version": True},
        {"root": 5},
        {"root": ["a", 5]},
        {"classes": "xyz"},
        {"classes": [1]},
        {"classes": ["\ud800"]},
        {"groups": 0},
        {"scores": []},
        {"scores": {"el2n": 5}},
        {"steps": [5]},
        {"steps": [{"command": "quota", "options": 5}]},
        {"reading": {"label_field": 5}},
    ],
    ids=str,
)
def test_metadata_of_other_types_are_refused(tmp_path, content):
    path = tmp_path / "t.parquet"
    table = score_table().replace_schema_metadata({"dprune": json.dumps(content)})
    path.write_bytes(to_bytes(table))
    with pytest.raises(DataError, match="the metadata under the key 'dprune' are not ours"):
        read_table(str(path))


def test_metadata_that_are_nested_too_deep_are_refused(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(to_bytes(score_table().replace_schema_metadata({"dprune": "[" * 100_000})))
    with pytest.raises(DataError, match="are not ours"):
        read_table(str(path))
    path.write_bytes(to_bytes(features().replace_schema_metadata({"dprune_classes": "[" * 100_000})))
    with pytest.raises(DataError, match="are not ours"):
        read_features(path)


def test_one_damaged_label_does_not_make_two_billion_classes(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(
        to_bytes(score_table().set_column(1, "label", pa.array([0, 0, 0, 1, 2**31 - 1], pa.int32())))
    )
    request = QuotaRequest(method="uniform")
    with bounded(), pytest.raises(DataError, match="column 'label' holds the id 2147483647"):
        table = read_table(str(path))
        quota(table, request, Silent())


@pytest.mark.parametrize("read", [read_features, Trajectory], ids=["features", "trajectory"])
@pytest.mark.parametrize("label", [2**63 - 1, 2**31, -(2**31) - 1])
def test_a_label_of_more_than_32_bits_is_refused(tmp_path, read, label):
    table = features() if read is read_features else trajectory()
    labels = pa.array([label] * len(table), pa.int64())
    path = tmp_path / "f.parquet"
    path.write_bytes(to_bytes(table.set_column(1, "label", labels)))
    with pytest.raises(DataError, match=f"holds {label}, which is no class id"):
        read(path)


@pytest.mark.parametrize("read", [read_features, Trajectory], ids=["features", "trajectory"])
def test_columns_of_one_name_are_refused(tmp_path, read):
    table = features() if read is read_features else trajectory()
    path = tmp_path / "f.parquet"
    path.write_bytes(to_bytes(table.append_column("key", table["key"])))
    with pytest.raises(DataError, match="several columns are called 'key'"):
        read(path)


@pytest.mark.parametrize("read", [read_features, Trajectory], ids=["features", "trajectory"])
def test_damage_between_the_ends_of_a_file_is_one_line(tmp_path, read):
    raw = to_bytes(features() if read is read_features else trajectory(), compression="none")
    path = tmp_path / "f.parquet"
    path.write_bytes(raw[:4] + raw[100:])
    with pytest.raises(DataError, match=r"f\.parquet: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "f.parquet"
    for table, read in ((features(), read_features), (score_table(), lambda path: read_table(str(path)))):
        raw = to_bytes(table, compression="none", use_dictionary=False)
        path.write_bytes(raw.replace(b"d/e", b"d\xff\xfe"))
        with pytest.raises(DataError, match="this is no Parquet file"):
            read(path)


def test_a_trajectory_with_fewer_rows_than_it_says_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(
        damage(to_bytes(trajectory(), compression="snappy", use_dictionary=False), [("set", 6868, 0)])
    )
    with pytest.raises(DataError):
        Trajectory(path)


@pytest.mark.parametrize(
    "text", ["epochs = " + "9" * 5000, "epochs = " + "[" * 5000], ids=["digits", "lists"]
)
def test_a_recipe_that_python_cannot_read_is_one_line(tmp_path, text):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(DataError, match="this is no TOML"):
        read_recipe(path, {"epochs"})


@pytest.mark.parametrize(
    "change",
    [{"model": None}, {"classes": "xy"}, {"classes": [1]}, {"image_size": "8"}, {"training": []}],
    ids=str,
)
def test_a_run_configuration_of_other_types_is_refused(tmp_path, change):
    RunConfig(model="tiny", classes=["x", "y"], image_size=8).write(tmp_path)
    path = tmp_path / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="this is no run configuration"):
        read_config(tmp_path)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="this is no run configuration"):
        read_config(tmp_path)


def test_a_resume_state_whose_first_byte_is_wrong_is_refused(tmp_path):
    path = tmp_path / "s.pt"
    save_state(path, {"epoch": 3})
    path.write_bytes(b"Q" + path.read_bytes()[1:])
    with pytest.raises(DataError, match="this is no resume state"):
        load_state(path)
