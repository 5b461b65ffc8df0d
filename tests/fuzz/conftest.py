"""How a property is run over many made-up cases, and what may not happen meanwhile, whatever the case.

`DPRUNE_FUZZ_SEED=7 python -m pytest tests/fuzz -m 'slow or not slow'` runs other cases than the usual ones;
`DPRUNE_FUZZ_SCALE=10` runs ten times as many. The same seed and scale run the same cases.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import zlib
from pathlib import Path

import pytest
from guards import bounded, deadline, stay_inside
from hypothesis import HealthCheck, Phase, configuration, given, seed, settings
from hypothesis import strategies as st

# Helpers that other folders of tests share; pytest knows of them only where tests of those folders run too.
sys.path.append(str(Path(__file__).parents[1] / "cli"))

SEED = int(os.environ.get("DPRUNE_FUZZ_SEED", "0"))
SCALE = float(os.environ.get("DPRUNE_FUZZ_SCALE", "1"))
COUNT = "fuzz cases"
# What the largest of the valid inputs takes is far below; a small file that asks for more is a bomb.
MOST_MEMORY = 1 << 30
_PHASES = (Phase.explicit, Phase.generate, Phase.target, Phase.shrink)


@pytest.fixture(scope="session", autouse=True)
def _no_files_of_hypothesis(tmp_path_factory):
    configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture
def place(tmp_path):
    """An empty folder, and all that a case may write to."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def fuzz(request, place, record_property):
    """Run a property over cases: `fuzz(check, cases, *strategies)`."""

    def run(check, cases, *strategies):
        ran = 0

        @seed(zlib.crc32(f"{request.node.originalname} {SEED}".encode()))
        @settings(
            max_examples=max(1, round(cases * SCALE)),
            database=None,
            derandomize=True,
            deadline=None,
            phases=_PHASES,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.tuples(*strategies))
        def one(values):
            nonlocal ran
            ran += 1
            if any(place.iterdir()):
                shutil.rmtree(place)
                place.mkdir()
            with stay_inside(place), deadline():
                check(*values)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with bounded():
            one()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        record_property(COUNT, ran)
        assert grown < MOST_MEMORY, f"memory grew by {grown >> 20} MiB"

    return run


def pytest_terminal_summary(terminalreporter):
    reports = [report for found in terminalreporter.stats.values() for report in found]
    counts = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == COUNT
    ]
    if counts:
        terminalreporter.write_line(f"{sum(counts):,} fuzz cases in {len(counts)} tests, seed {SEED}")
