"""The direction of imports, light start-up, and file lengths, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dprune_cli"
LAYERS = [
    ["core"],
    ["io"],
    ["metrics"],
    ["models"],
    ["data"],
    ["train"],
    ["scores", "quotas", "pickers", "samplers", "weighters"],
    ["stages"],
    ["report"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LIGHT = ["core", "io", "metrics", "quotas", "pickers", "cli"]
HEAVY = {"torch", "torchvision", "webdataset"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path, *, module_level: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in ast.iter_child_nodes(tree) if module_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            # `from dprune_cli.cli import score` names a module as well.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_itself_and_packages_to_its_left(path: Path) -> None:
    own = package_of(path)
    if own not in LEVEL:
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "dprune_cli" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        other = parts[1]
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_light_packages_import_nothing_heavy_at_module_level(path: Path) -> None:
    if package_of(path) in LIGHT:
        heavy = {name.split(".")[0] for name in imports_of(path, module_level=True)} & HEAVY
        assert not heavy


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_over_400_lines(path: Path) -> None:
    limit = 250 if path.name == "loop.py" else 400
    assert len(path.read_text().splitlines()) <= limit


def test_every_package_of_the_source_has_a_place_in_the_layers() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(LEVEL)


@pytest.mark.parametrize("module", ["cli.app", "stages.quota", "stages.select", "stages.select_outputs"])
def test_table_only_commands_never_load_torch(module: str) -> None:
    code = f"import sys, dprune_cli.{module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_methods_are_named_as_their_files() -> None:
    from dprune_cli.stages.methods import KINDS

    for registry in KINDS.values():
        assert registry.names()
        for name in registry.names():
            assert registry.get(name).info.name == name  # type: ignore[attr-defined]
