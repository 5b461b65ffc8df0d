"""The scripts of the README do no needless work when they are run again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]


def copy_with_an_installed_venv(tmp_path: Path, extra: str) -> None:
    """A project whose .venv is there already; its `python` is ours, its pip would fail."""
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    (tmp_path / "samples").mkdir()
    shutil.copy(TOP / "samples" / "venv.sh", tmp_path / "samples")
    shutil.copytree(TOP / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (binaries / "python").chmod(0o755)
    (binaries / "activate").write_text(f"PATH={binaries}:$PATH\n")
    shutil.copy(TOP / "pyproject.toml", tmp_path / ".venv" / f"installed{extra}")


def test_a_second_run_of_the_tests_installs_nothing(tmp_path: Path) -> None:
    copy_with_an_installed_venv(tmp_path, "-dev-")
    subprocess.run(["bash", "tests/run.sh", "-k", "nothing"], cwd=tmp_path, check=True)
    assert (tmp_path / "calls").read_text().splitlines() == ["-m pytest -n auto --dist worksteal -k nothing"]


def test_a_changed_pyproject_is_installed_again(tmp_path: Path) -> None:
    copy_with_an_installed_venv(tmp_path, "-dev-")
    (tmp_path / "pyproject.toml").write_text("changed")
    subprocess.run(["bash", "tests/run.sh"], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [
        "-m pip install --quiet --disable-pip-version-check -e .[dev]",
        "-m pytest -n auto --dist worksteal",
    ]


def test_the_quickstart_uses_commands_that_the_readme_shows() -> None:
    script = (TOP / "samples" / "quickstart.sh").read_text()
    for command in ("score", "evaluate", "quota", "select", "train"):
        assert f"dprune {command} " in script
        assert f"dprune {command} " in (TOP / "README.md").read_text()
