"""Every command of the README runs, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
SCRIPTS = ("samples/quickstart.sh", "tests/run.sh")


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (TOP / "README.md").read_text(), re.DOTALL)
    # The two scripts make a virtual environment; they have a test and a run of their own.
    return [block for block in blocks if block.strip() not in SCRIPTS]


def test_the_two_scripts_of_the_readme_exist() -> None:
    for script in SCRIPTS:
        assert script in (TOP / "README.md").read_text()
        assert os.access(TOP / script, os.X_OK)


def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(TOP / "samples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = "set -euo pipefail\n" + "\n".join(readme_commands())
    environ = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    found = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    assert '"worst_class"' in found.stdout
    assert "Traceback" not in found.stderr
    assert "scores of an earlier command" in found.stderr
    for report in ("smaller/report.html", "smallest/report.html", "kept.html", "final.html"):
        assert "</html>" in (tmp_path / report).read_text()
    assert (tmp_path / "keys.txt").read_text().count("\n") == 963
    assert {path.name for path in (tmp_path / "kept-images").iterdir()} >= {"airplane", "truck"}


def test_the_results_are_those_of_results_csv() -> None:
    shown = re.search(r"<!-- results -->\n(.*?)<!-- /results -->", (TOP / "README.md").read_text(), re.DOTALL)
    command = [sys.executable, TOP / "samples" / "reproduce" / "table.py"]
    assert shown and shown[1] == subprocess.run(command, capture_output=True, text=True, check=True).stdout
