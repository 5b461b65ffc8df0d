"""Classes or groups as samplers see them: who belongs to which, and the best few of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.train.observe import RunInfo

By = Literal["class", "group"]


@dataclass(frozen=True)
class Strata:
    """S classes or groups of M usable samples.

    Attributes:
        stratum: (N,) ids, of all rows; -1 for rows that are not usable.
        rows: (M,) usable rows, those of the first stratum first, ascending within each.
        sizes: (S,) N_j, how many are of each.
    """

    stratum: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def sums(self, values: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(S,) sums over some `rows` of (N,) values."""
        sums = np.bincount(self.stratum[rows], values[rows], minlength=len(self.sizes))
        return sums.astype(np.float64, copy=False)

    def count(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(S,) how many of some `rows` are of each."""
        return np.bincount(self.stratum[rows], minlength=len(self.sizes))

    def best(self, keys: NDArray[np.floating], quotas: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the `quotas` (S,) largest keys of every stratum; keys (M,) are in the order of `rows`.

        >>> strata = Strata(np.array([0, 1, 0, 1]), np.array([0, 2, 1, 3]), np.array([2, 2]))
        >>> strata.best(np.array([0.1, 0.9, 0.5, 0.3]), np.array([1, 2])).tolist()
        [2, 1, 3]
        """
        chosen = []
        for start, size, quota in zip(np.cumsum(self.sizes) - self.sizes, self.sizes, quotas, strict=True):
            part = np.arange(start, start + size)
            if 0 < quota < size:
                part = start + np.argpartition(-keys[start : start + size], quota - 1)[:quota]
            chosen.append(part if quota else part[:0])
        return self.rows[np.concatenate(chosen)]


def find_strata(run: RunInfo, by: By, name: str) -> Strata:
    """The classes or groups of a run's usable samples.

    Raises:
        UsageError: groups are asked for, and the samples have none.
        DataError: a usable sample has no group.
    """
    target = run.target.cpu().numpy()
    if by == "group":
        if run.group is None:
            raise UsageError(
                f"{name}:by=group needs groups; give --group-field, or features with a column group"
            )
        lacking = np.flatnonzero((target >= 0) & (run.group.cpu().numpy() < 0))
        if len(lacking):
            raise DataError(
                f"{name}:by=group: {len(lacking)} samples have no group (first {run.keys[lacking[0]]!r})"
            )
        stratum, count = np.where(target >= 0, run.group.cpu().numpy(), -1), len(run.group_names)
    else:
        stratum, count = target, run.classes
    rows = np.flatnonzero(stratum >= 0)
    # The narrowest type makes NumPy's stable sort a radix sort.
    order = np.argsort(stratum[rows].astype(np.min_scalar_type(count)), kind="stable")
    return Strata(stratum, rows[order], np.bincount(stratum[rows], minlength=count))
