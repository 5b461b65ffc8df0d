"""What Tab offers in bash, zsh and fish, asked for as these shells do."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import ENVIRONMENT

from dprune_cli.cli.app import run_process
from dprune_cli.cli.completion import KINDS, methods_of
from dprune_cli.stages.methods import KINDS as REGISTRIES


@pytest.fixture
def bash(capfd):
    """What bash is offered for the last of some words; it cuts words at `:` and `=`."""

    def ask(line):
        words = line.replace(":", " : ").replace("=", " = ").split(" ")
        words = [word for word in words[:-1] if word] + words[-1:]
        shell = {"_DPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words)}
        asked = mock.patch.dict(os.environ, {**shell, "COMP_CWORD": str(len(words) - 1)})
        with asked, pytest.raises(SystemExit) as ended:
            run_process([])
        assert ended.value.code == 0
        return capfd.readouterr().out.split()

    return ask


@pytest.fixture
def table(tmp_path):
    columns = {"key": ["a"], "label": [0], "el2n": [0.5], "count": [3], "status": ["ok"], "quota": [1]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dprune score data -m el", ["el2n"]),
        ("dprune score data -m el2n -m au", ["aum"]),
        ("dprune score data --method=el", ["el2n"]),
        ("dprune quota t --method u", ["uniform"]),
        ("dprune select t --by x --pick s", ["stratified"]),
        ("dprune train data --sampler inf", ["infobatch"]),
        ("dprune train data --weighter c", ["cdb_w"]),
        ("dprune train data --model t", ["tiny", "torchvision:"]),
        ("dprune score data --model vgg1", ["vgg16", "vgg19"]),
        ("dprune prune data -m cc", ["ccs"]),
        ("dprune prune data --method=el2n -m longtail:fac", ["factor="]),
        ("dprune prune data --model ti", ["tiny"]),
        ("dprune methods w", ["weighter"]),
        ("dprune score data --schedule st", ["step"]),
        ("dprune sel", ["select"]),
    ],
)
def test_names_are_offered(bash, line, offered):
    assert bash(line) == offered


def test_parameters_follow_the_name(bash):
    offered = bash("dprune score data -m tdds:")
    assert offered == ["window=", "epochs=", "decay=", "variant="]
    assert bash("dprune score data -m tdds:w") == ["window="]
    # Bash takes `10,d` for a word, and replaces all of it.
    assert bash("dprune score data -m tdds:window=10,d") == ["10,decay="]
    assert bash("dprune quota t --method=longtail:f") == ["factor="]
    assert bash("dprune score data -m nothing:") == bash("dprune score data -m ../scores/tdds:w") == []


def test_an_address_is_left_alone(bash):
    assert bash("dprune score s3://bucket/data -m el") == ["el2n"]


def test_columns_come_from_the_table(bash, table, tmp_path):
    assert bash(f"dprune select {table} --by ") == ["el2n", "count", "random"]
    assert bash(f"dprune select {table} --by=e") == ["el2n"]
    assert bash(f"dprune select {tmp_path} --by e") == ["el2n"]
    assert bash(f"dprune select {table} --weight-by el") == ["el2n"]
    (tmp_path / "broken").write_bytes(b"PAR1")
    for absent in ("broken", "nothing", "-"):
        assert bash(f"dprune select {tmp_path / absent} --by ") == ["random"]
    assert bash("dprune select - --by ") == bash("dprune select --by ") == ["random"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_offered_is_what_is_registered(kind):
    registry = REGISTRIES[kind]
    offers = dict(methods_of(kind)(""))
    assert list(offers) == registry.names()
    for name, title in offers.items():
        method = registry.get(name)
        assert title == method.info.title
        fields = [f"{name}:{field.name}=" for field in dataclasses.fields(method) if field.init]
        assert [value for value, _ in methods_of(kind)(f"{name}:")] == fields


def test_choices_follow_a_parameter():
    assert [value for value, _ in methods_of("quota")("drop:missing_class=")] != []


def test_other_shells_get_descriptions():
    shells = {
        "zsh": ({"_TYPER_COMPLETE_ARGS": "dprune score d -m tdds:w"}, "tdds\\\\:window="),
        "fish": (
            {"_TYPER_COMPLETE_ARGS": "dprune score d -m tdds:w", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "tdds:window=\tdefault 10",
        ),
    }
    for shell, (variables, offered) in shells.items():
        environment = {**ENVIRONMENT, **variables, "_DPRUNE_COMPLETE": f"complete_{shell}"}
        done = subprocess.run(
            [sys.executable, "-m", "dprune_cli"], env=environment, capture_output=True, text=True, check=True
        )
        assert offered in done.stdout and done.stderr == ""


def test_completing_imports_nothing_heavy():
    program = (
        "import sys; from dprune_cli.cli.app import run_process\n"
        "try: run_process([])\n"
        "finally: print(sorted({'torch', 'pyarrow', 'webdataset', 'rich'} & set(sys.modules)))"
    )
    shell = {"_DPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": "dprune\nscore\n-m\nel", "COMP_CWORD": "3"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**ENVIRONMENT, **shell}, capture_output=True, text=True, check=True)
    assert done.stdout == "el2n\n[]\n"


def test_a_parameter_that_is_given_is_not_offered_again():
    complete = methods_of("score")
    fresh = {value for value, _ in complete("tdds:")}
    assert "tdds:window=" in fresh and len(fresh) > 1
    assert {value for value, _ in complete("tdds:window=3,")} == {
        f"tdds:window=3,{value.removeprefix('tdds:')}" for value in fresh - {"tdds:window="}
    }
