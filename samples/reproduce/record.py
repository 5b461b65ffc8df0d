"""Keep results.csv, one row a measurement; the scripts beside this file call it.

    record.py hardware                                   prints what the models are trained on
    record.py known RESULTS --run full --stretch none    prints CLAIM/DATASET/METHOD/KEEP/SEED of its rows
    dprune evaluate RUN DATA --json | record.py add RESULTS RUN --claim ...    adds a row

`accuracy`, `worst_class`, `gap`, `std` and the paper's number are in percent. `seconds` are those of
planning and training visits over all epochs; rows from before they were measured have none. `run` is
`full` or `quick`: quick rows come from a part of the data, a tiny model and few epochs, and have no paper's
number beside them.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import io
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

IDENTITY = ["claim", "dataset", "method", "keep", "stretch", "seed", "run"]
FIGURES = ["accuracy", "worst_class", "gap", "std"]
PAPER = ["paper_figure", "paper", "paper_spread"]
COLUMNS = [*IDENTITY, "model", "epochs", *FIGURES, "seconds", *PAPER, "dprune", "torch", "hardware"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a results file; none if there is no such file.

    Raises:
        ValueError: its columns are others.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != COLUMNS:
        raise ValueError(f"{path}: the columns are not {','.join(COLUMNS)}")
    return rows


def identity(row: Mapping[str, str]) -> tuple[str, ...]:
    """What makes a measurement another one."""
    return tuple(row[name] for name in IDENTITY)


def split_paper(text: str) -> tuple[str, str]:
    """The paper's number and its spread.

    >>> split_paper("94.58+-0.04"), split_paper("95.23"), split_paper("")
    (('94.58', '0.04'), ('95.23', ''), ('', ''))
    """
    mean, _, spread = text.partition("+-")
    return mean, spread


def add_row(path: Path, row: Mapping[str, str]) -> bool:
    """Add a row, and say whether it was new; the file is replaced whole."""
    with locked(path.parent):
        rows = read_rows(path)
        if identity(row) in map(identity, rows):
            return False
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, row])
        part = path.with_name(f"{path.name}.part")
        part.write_text(text.getvalue(), "utf-8")
        part.replace(path)
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that add rows in this folder waiting: seeds may run side by side."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def training_seconds(folder: Path) -> str:
    """What planning and training visits took in all epochs of a run, without validation and clean passes."""
    history = pq.read_table(folder / "history.parquet", columns=["plan_seconds", "visit_seconds"])
    return f"{sum(sum(column.to_pylist()) for column in history.columns):.1f}"


def make_row(
    given: argparse.Namespace, found: Mapping[str, Any], config: Mapping[str, Any], seconds: str
) -> dict[str, str]:
    """A row from the command line, the output of `evaluate --json`, the run's config.json and its seconds."""
    row = {name: getattr(given, name) for name in IDENTITY}
    row |= {"model": config["model"], "epochs": str(config["training"]["epochs"])}
    row |= {name: f"{100 * found[name]:.2f}" for name in FIGURES}
    row["seconds"] = seconds
    mean, spread = split_paper(given.paper if given.run == "full" else "")
    row |= {"paper_figure": given.figure if mean else "", "paper": mean, "paper_spread": spread}
    return row | {"dprune": version("dprune-cli"), "torch": version("torch"), "hardware": given.hardware}


def hardware() -> str:
    """The GPU, or the processor if there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return processor(Path("/proc/cpuinfo")) or platform.machine()


def processor(about: Path) -> str:
    """The processor's model from /proc/cpuinfo; empty if it does not say."""
    if not about.exists():
        return ""
    names = [
        line.partition(":")[2].strip() for line in about.read_text().splitlines() if line[:10] == "model name"
    ]
    return f"{names[0]}, {len(names)} threads" if names else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("hardware")
    known = commands.add_parser("known")
    known.add_argument("results", type=Path)
    known.add_argument("--run", required=True)
    known.add_argument("--stretch", required=True)
    add = commands.add_parser("add")
    add.add_argument("results", type=Path)
    add.add_argument("folder", type=Path, metavar="RUN")
    for name in [*IDENTITY, "hardware", "figure", "paper"]:
        add.add_argument(f"--{name}", required=True)
    given = parser.parse_args(arguments)
    try:
        if given.command == "hardware":
            print(hardware())
        elif given.command == "known":
            print_known(read_rows(given.results), given.run, given.stretch)
        else:
            add_measured(given, sys.stdin.read())
    except ValueError as error:
        sys.exit(f"record.py: {error}")


def print_known(rows: Sequence[Mapping[str, str]], run: str, stretch: str) -> None:
    """Print what the scripts need not measure again."""
    for row in rows:
        if (row["run"], row["stretch"]) == (run, stretch):
            print("/".join(row[name] for name in ("claim", "dataset", "method", "keep", "seed")))


def add_measured(given: argparse.Namespace, measured: str) -> None:
    """Add the row of what `evaluate --json` printed; `ValueError` if that is nothing, because it failed."""
    if not measured.strip():
        raise ValueError(f"there is no measurement of {given.folder}")
    config = json.loads((given.folder / "config.json").read_text("utf-8"))
    row = make_row(given, json.loads(measured), config, training_seconds(given.folder))
    new = add_row(given.results, row)
    said = f"accuracy {row['accuracy']} %, worst class {row['worst_class']} %" if new else "there already"
    print(f"= {row['claim']}/{row['dataset']}/{row['method']}/{row['keep']}/{row['seed']}: {said}")


if __name__ == "__main__":
    main()
