from __future__ import annotations

import os
import subprocess
import sys

import pytest
from commands import ENVIRONMENT, QUICK

# Put where Python looks for it at its start: ends the process at the first thing it does with a network.
BLOCKED = """
import os, sys

def block(event, arguments):
    if event.startswith(("socket.connect", "socket.send", "socket.get", "socket.bind", "urllib.", "ftplib.")):
        os.write(2, f"network: {event} {arguments}".encode())
        os._exit(99)

sys.addaudithook(block)
open(os.environ["BLOCKED"], "a").write("blocked ")
"""


@pytest.mark.slow
def test_a_whole_pipeline_opens_no_connection(tmp_path, image_folder, validation_folder):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    mark = tmp_path / "mark"
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path), "BLOCKED": str(mark)}
    run, names = tmp_path / "run", ("t", "p", "q", "s")
    table, predicted, quoted, kept = (tmp_path / f"{name}.parquet" for name in names)
    for words in (
        ["score", image_folder, "-m", "el2n", "-m", "random", "--save-model", run, "-o", table, *QUICK],
        ["evaluate", run, validation_folder, "-o", predicted],
        ["quota", table, "--keep", "20", "--method", "uniform", "-o", quoted],
        ["select", quoted, "--by", "el2n", "-o", kept, "--shards", tmp_path / "out"],
        ["train", tmp_path / "out", "-o", tmp_path / "final", *QUICK],
        ["methods"],
    ):
        command = [sys.executable, "-m", "dprune_cli", *map(os.fspath, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
    assert mark.read_text().split() == ["blocked"] * 6
