from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path

import pytest
import torch
from commands import call
from hypothesis import strategies as st
from mutations import Raw, damage, edits
from parquet_cases import score_table

from dprune_cli.core.config import read_recipe
from dprune_cli.core.errors import DataError, DpruneError
from dprune_cli.core.progress import Silent
from dprune_cli.io.run_dir import CONFIG, RunConfig, read_config
from dprune_cli.io.table import ScoreTable, TableMeta
from dprune_cli.models.build import build_model
from dprune_cli.models.weights import load_weights, save_weights
from dprune_cli.stages.quota import QuotaRequest, quota
from dprune_cli.train.checkpoint import load_state, save_state

FEW_AND_MANY = pytest.mark.parametrize("cases", [25, pytest.param(1000, marks=pytest.mark.slow)])

CSV = b"stratum,name,available,recall,density,quota\n0,x,3,0.5,0.6,2\n1,y,1,,1.0,1\n2,z,0,,,0\n"
ROWS = [{"stratum": 0, "name": "x", "recall": 0.5, "quota": 2}, {"stratum": 1, "name": "y", "quota": 1}]
CELLS = (
    "0",
    "1",
    "-1",
    "1e999",
    "nan",
    "1.5",
    "",
    '"',
    "9" * 400,
    "x",
    "\0",
    "2" * 5000,
    "=cmd()",
    "\ud800",
    "1,1",
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 4), st.integers(), st.floats(), st.sampled_from(CELLS)
)


@st.composite
def tables_of_text(draw):
    """A quotas file as CSV or as JSON, with cells of any kind."""
    if draw(st.booleans()):
        raw = draw(st.builds(damage, st.just(CSV), edits))
        if draw(st.booleans()):
            cells = draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=8))
            raw = CSV + ",".join(cells).encode("utf-8", "surrogatepass") + b"\n"
        return ".csv", raw
    rows = [dict(row) for row in ROWS]
    for _ in range(draw(st.integers(0, 3))):
        row = rows[draw(st.integers(0, 1))]
        row[draw(st.sampled_from(("stratum", "name", "recall", "quota", "")))] = draw(
            st.one_of(LEAVES, st.lists(LEAVES, max_size=2), st.just({"a": 1}))
        )
    raw = json.dumps(draw(st.sampled_from((rows, rows, rows[:1], rows[0], [rows], [None], 5)))).encode()
    deep = st.sampled_from(
        (b"[" * 100_000, b"", b"\xff", b"[{}]", b'[{"stratum":' + b"9" * 5000 + b',"quota":1}]')
    )
    return ".json", draw(st.one_of(st.just(raw), st.builds(damage, st.just(raw), edits), deep))


@FEW_AND_MANY
def test_quotas_in_text_are_applied_or_refused(cases, fuzz, place):
    table = ScoreTable(score_table(), TableMeta(classes=["x", "y", "z"]))

    def check(file):
        suffix, raw = file
        path = place / f"q{suffix}"
        path.write_bytes(raw)
        try:
            review = quota(table, QuotaRequest(edited=path), Silent())[1]
        except DpruneError as error:
            assert "\n" not in str(error)
            return
        assert (review.quota >= 0).all() and (review.quota <= review.available).all()

    fuzz(check, cases, tables_of_text())


QUOTED = '""'
TOML = b'epochs = 2\nlr = 0.1\nmodel = "tiny"\nno_flip = true\nmilestones = [0.5, 0.75]\nmax-errors = "1%"\n'
NAMES = (
    "epochs",
    "lr",
    "model",
    "no_flip",
    "flip",
    "milestones",
    "max-errors",
    "data",
    "method",
    "seed",
    "device",
    "",
)
NAMES += (
    "recipe",
    "head",
    "clip_norm",
    "init",
    "group-field",
    "x",
    "label_field",
    "output",
    "debug",
    "no_no_flip",
)
VALUES = (
    "1", "-1", "0", "true", "nan", "inf", "1e400", "9" * 400, '""', '"tiny"', "[]", "[1, 2]", "{}", "{a = 1}",
    '"\\u0000"',
    "1979-05-27", '"pipe:ls"', "'''\na\n'''", "0x10", "[[1]]", '["a", 1]', "1_000", "[" * 5000, "9" * 5000,
    '"\\ud800"',
)  # fmt: skip


@st.composite
def recipes(draw):
    lines = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=3))
    raw = "".join(f"{name or QUOTED} = {value}\n" for name, value in lines).encode()
    return draw(st.one_of(st.just(raw), st.just(raw), st.builds(damage, st.just(TOML + raw), edits)))


@FEW_AND_MANY
def test_recipes_of_any_content_are_read_or_refused(cases, fuzz, place):
    def check(raw):
        path = place / "r.toml"
        path.write_bytes(raw)
        try:
            read_recipe(path, {"epochs", "lr", "model", "flip", "milestones", "max_errors", "data", "head"})
        except DpruneError as error:
            assert "\n" not in str(error)
        done = call("score", place / "nothing", "-m", "random", "-o", place / "out", "--recipe", path)
        assert done.code in (2, 3) and done.line

    fuzz(check, cases, recipes())


@functools.cache
def states() -> tuple[bytes, ...]:
    """Resume states as training writes them, and files of torch that are none."""
    found = []
    model = {
        "w": torch.arange(6.0).reshape(2, 3),
        "n": torch.tensor(3),
        "h": torch.ones(2, dtype=torch.float16),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.pt")
        save_state(path, {"epoch": 3, "model": model, "history": [{"lr": 0.5, "x": None, "y": "z"}]})
        found.append(path.read_bytes())
        save_state(path, {})
        found.append(path.read_bytes())
    for other in ([1, 2], torch.ones(3), None, {"format": 1}):
        target = io.BytesIO()
        torch.save(other, target)
        found.append(target.getvalue())
    return tuple(found)


@FEW_AND_MANY
def test_resume_states_of_any_bytes_are_read_or_refused(cases, fuzz, place):
    def check(raw):
        path = place / "s.pt"
        path.write_bytes(raw)
        try:
            state = load_state(path)
        except DataError:
            return
        assert isinstance(state, dict)

    valid = st.integers(0, 5).map(lambda number: states()[number])
    fuzz(check, cases, st.builds(damage, valid, edits, valid).map(Raw))


@functools.cache
def weights() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.safetensors")
        save_weights(build_model("tiny", 3, 8, seed=0), path)
        return path.read_bytes()


@st.composite
def tensors(draw):
    """A file of weights, damaged, or with a head that says other things."""
    raw = weights()
    length = int.from_bytes(raw[:8], "little")
    if draw(st.booleans()):
        size = draw(st.sampled_from((0, 1, length, length + 1, 2**31, 2**63, 2**64 - 1)))
        return size.to_bytes(8, "little") + raw[8:]
    head = draw(st.builds(damage, st.just(raw[8 : 8 + length]), edits))
    cut = draw(st.sampled_from((None, -1, -100)))
    return len(head).to_bytes(8, "little") + head + raw[8 + length : cut]


@FEW_AND_MANY
def test_weights_of_any_bytes_are_read_or_refused(cases, fuzz, place):
    model = build_model("tiny", 3, 8, seed=0)
    first = {name: value.clone() for name, value in model.state_dict().items()}

    def check(raw):
        path = place / "w.safetensors"
        path.write_bytes(raw)
        model.load_state_dict(first)
        try:
            load_weights(model, path)
        except DpruneError:
            assert all(torch.equal(first[name], value) for name, value in model.state_dict().items())

    damaged = st.builds(lambda changes: damage(weights(), changes), edits)
    fuzz(check, cases, st.one_of(tensors(), damaged).map(Raw))


@FEW_AND_MANY
def test_run_configurations_of_any_content_are_read_or_refused(cases, fuzz, place):
    RunConfig(model="tiny", classes=["x", "y"], image_size=8, training={"lr": 0.1}).write(place)
    valid = (place / CONFIG).read_bytes()
    values = st.one_of(
        LEAVES, st.lists(LEAVES, max_size=2), st.dictionaries(st.just("a"), LEAVES, max_size=1)
    )

    def check(raw, name, value):
        content = (
            damage(valid, raw) if name is None else json.dumps(json.loads(valid) | {name: value}).encode()
        )
        (place / CONFIG).write_bytes(content)
        try:
            config = read_config(place)
        except DataError:
            return
        assert isinstance(config.model, str) and all(isinstance(one, str) for one in config.classes)
        assert isinstance(config.image_size, int) and isinstance(config.training, dict)

    names = st.sampled_from(
        (None, "model", "classes", "image_size", "features", "groups", "training", "data", "format")
    )
    fuzz(check, cases, edits, names, values)
