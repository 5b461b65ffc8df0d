from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dprune_cli.core.errors import DataError
from dprune_cli.quotas.base import QuotaInput, Validation


@pytest.fixture
def make_given() -> Callable[..., QuotaInput]:
    """A function that makes a rule's input from class sizes and what else matters."""

    def make(sizes, total, *, recalls=(), validated=100, columns=None, ends=None, hashes=None, classes=None):
        sizes = np.asarray(sizes, np.int64)
        count = np.broadcast_to(np.asarray(validated, np.int64), sizes.shape)
        tables = []
        for recall in recalls:
            errors = np.round(count * (1 - np.asarray(recall, float))).astype(np.int64)
            tables.append(Validation(errors, count.copy()))
        order = np.arange(sizes.sum()) if hashes is None else np.asarray(hashes)

        def column(name):
            if name not in (columns or {}):
                raise DataError(f"table: there is no column {name!r}")
            return np.asarray(columns[name], np.float64)

        return QuotaInput(
            total=total,
            names=[f"class{k}" for k in range(len(sizes))],
            available=sizes,
            stratum=np.repeat(np.arange(len(sizes)), sizes),
            validation=tuple(tables),
            column=column,
            tie=lambda rows: order[rows].astype(np.uint64),
            keep_first=lambda name: (ends or {}).get(name),
            classes=classes,
        )

    return make
