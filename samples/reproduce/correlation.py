"""Print how class budgets follow the class losses of the epoch before: `python correlation.py RUN...`.

Pearson's correlation over the classes j, for every epoch t but the last, of

    the mean loss of class j in epoch t    with its density n_j / N_j in epoch t + 1
    the sum of its losses in epoch t       with its budget n_j in epoch t + 1

One line a run: the mean over the epochs t from the second on, and the last t in brackets. Losses and
budgets are those of RUN/history.parquet, N_j are counted in RUN/table.parquet. An epoch in which one of the
two is the same for all classes has no correlation, and is left out of the mean.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassHistory:
    """What a run tells about its C classes.

    Attributes:
        sizes: (C,) N_j, samples that it could visit.
        visited: (E, C) n_j of every epoch.
        loss: (E, C) sums of losses.
        mean_loss: (E, C) the same a sample; NaN for a class that was not visited.
    """

    sizes: NDArray[np.float64]
    visited: NDArray[np.float64]
    loss: NDArray[np.float64]
    mean_loss: NDArray[np.float64]


def read_run(folder: Path) -> ClassHistory:
    """The history of a run folder.

    Raises:
        ValueError: it has fewer than three epochs.
    """
    history = pq.read_table(folder / "history.parquet", columns=["class_visited", "class_loss"])
    if len(history) < 3:
        raise ValueError(f"{folder}: a run of {len(history)} epochs is too short; it takes 3 to correlate")
    visited, loss = (np.array(column.to_pylist(), np.float64) for column in history.columns)
    sizes = count_classes(folder / "table.parquet", visited.shape[1])
    sampler = json.loads((folder / "config.json").read_text("utf-8"))["data"].get("sampler")
    summed = np.broadcast_to(sizes, visited.shape) if sums_whole_classes(sampler or "") else visited
    return ClassHistory(sizes, visited, loss, divide(loss, summed))


def count_classes(path: Path, classes: int) -> NDArray[np.float64]:
    """(C,) samples that a run could visit: usable, and kept if the table comes from a selection."""
    table = pq.read_table(path)
    table = table.filter(pc.equal(table["status"].cast("string"), "ok"))
    if "keep" in table.column_names:
        table = table.filter(table["keep"])
    return np.bincount(table["label"].to_numpy(), minlength=classes).astype(np.float64)


def sums_whole_classes(sampler: str) -> bool:
    """Whether `class_loss` sums over all samples of a class, where it else sums over the visited ones.

    >>> sums_whole_classes("rcap:beta=0.5,aggregate=class"), sums_whole_classes("rcap")
    (True, False)
    """
    # With by=group the samplers' own sums stand in `group_loss`.
    return "aggregate=class" in sampler and "by=group" not in sampler


def divide(parts: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotients; NaN where the count is 0."""
    return np.divide(parts, counts, out=np.full(parts.shape, np.nan), where=counts > 0)


def correlate(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's correlation over the classes whose values are known; NaN if one of the two does not vary.

    >>> round(correlate(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 7.0])), 3)
    0.993
    >>> correlate(np.array([1.0, 2.0]), np.array([5.0, 5.0]))
    nan
    """
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def correlate_epochs(run: ClassHistory) -> tuple[list[float], list[float]]:
    """For t = 1 ... E - 1 the correlations of mean loss with density, and of loss with budget."""
    density = divide(run.visited, np.broadcast_to(run.sizes, run.visited.shape))
    means = [correlate(*pair) for pair in zip(run.mean_loss[:-1], density[1:], strict=True)]
    sums = [correlate(*pair) for pair in zip(run.loss[:-1], run.visited[1:], strict=True)]
    return means, sums


def describe(found: Sequence[float]) -> str:
    """The mean from the second value on, and the last value in brackets.

    >>> describe([0.0, 0.5, 0.75]), describe([0.0, math.nan, 0.5]), describe([0.0, math.nan])
    ('0.625 (0.750)', '0.500 (0.500)', 'none (none)')
    """
    known = [value for value in found[1:] if not math.isnan(value)]
    mean = f"{sum(known) / len(known):.3f}" if known else "none"
    return f"{mean} ({'none' if math.isnan(found[-1]) else f'{found[-1]:.3f}'})"


def report(folder: Path) -> str:
    """The line of one run."""
    means, sums = correlate_epochs(read_run(folder))
    return (
        f"{folder}: epochs 2 to {len(means)} (epoch {len(means)}): mean class loss with next density "
        f"{describe(means)}, class loss with next budget {describe(sums)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders of dprune train")
    given = parser.parse_args(arguments)
    try:
        for folder in given.runs:
            print(report(folder))
    except (OSError, ValueError) as error:
        sys.exit(f"correlation.py: {error}")


if __name__ == "__main__":
    main()
