"""`dprune evaluate --geometry` and `--tsne`: how classes lie in what a model feeds its last layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Progress
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.metrics.geometry import Geometry, measure
from dprune_cli.stages.kept_rows import KEEP, find_kept
from dprune_cli.stages.tsne import LEAST_POINTS, MOST_POINTS, Plane, lay_out
from dprune_cli.train.observe import BatchObs, embedding_of

# Rows looked at together.
_ROWS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class GeometryRequest:
    """What is to be known of an embedding.

    Attributes:
        measures: the measures of `metrics.geometry`.
        plane: places of samples for a picture.
        table: which samples are kept; None to look at all of them only.
    """

    measures: bool = True
    plane: bool = False
    table: ScoreTable | None = None

    def verify(self) -> None:
        """`DataError` if the table does not say what is kept."""
        if self.table is not None and KEEP not in self.table:
            raise DataError(
                f"{self.table.source}: there is no column {KEEP!r}; make it with `dprune select ... -o FILE`"
            )


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What was found in the embedding of a run.

    Attributes:
        all: the geometry of all usable samples; None if it was not asked for.
        kept: that of the kept ones; None without a table.
        plane: None if it was not asked for.
    """

    all: Geometry | None = None
    kept: Geometry | None = None
    plane: Plane | None = None

    @property
    def sets(self) -> dict[str, Geometry]:
        """The measures by `all` and `kept`, as far as they are known."""
        return {name: one for name, one in (("all", self.all), ("kept", self.kept)) if one is not None}


class Embedding:
    """Takes the embedding of a run from a clean pass, and looks at it; memory for N x D numbers.

    Args:
        request: what is to be known.
        samples: what passes through the model.

    Raises:
        DataError: the table keeps samples that are not there, or there are too few for a picture.
    """

    def __init__(self, request: GeometryRequest, samples: Samples) -> None:
        self.request, self.samples = request, samples
        self.rows = np.flatnonzero(samples.ok())
        self.keep: NDArray[np.bool_] | None = None
        if request.table is not None:
            keep = np.zeros(len(samples), bool)
            keep[find_kept(request.table, samples)[1]] = True
            self.keep = keep[self.rows]
        if request.plane and len(self.rows) < LEAST_POINTS:
            raise DataError(
                f"{samples.source}: a t-SNE needs {LEAST_POINTS} samples, and {len(self.rows)} can be used"
            )
        # The place of every row among the usable ones.
        self._slots = torch.from_numpy(np.cumsum(samples.ok()) - 1)
        self._values: Tensor | None = None

    def take(self, obs: BatchObs) -> None:
        """Keep the embeddings of a batch."""
        found = embedding_of(obs)
        if self._values is None:
            self._values = found.new_empty(len(self.rows), found.shape[1])
        self._values[self._slots[obs.index.cpu()].to(found.device)] = found

    def look(self, progress: Progress) -> Embedded:
        """What it is like; of several processes, which all have it, the first one looks for all.

        Raises:
            DataError: an embedding is not finite.
        """
        values = self._finite()
        found = self._look(values, progress) if ranks.is_main() else None
        result = ranks.broadcast(found)
        if result is None:
            raise RuntimeError("the first process has found nothing")
        return result

    def _finite(self) -> Tensor:
        if self._values is None:
            raise RuntimeError("no batch was taken")
        finite = torch.cat([part.isfinite().all(1) for part in torch.split(self._values, _ROWS)])
        if not finite.all():
            row = self.rows[int((~finite).nonzero()[0])]
            raise DataError(
                f"the embedding of key {self.samples.keys[row]!r} is not finite; did the training diverge?"
            )
        return self._values

    def _look(self, values: Tensor, progress: Progress) -> Embedded:
        whole = kept = None
        if self.request.measures:
            label = torch.from_numpy(self._labels()).to(values.device)
            whole = measure(values, label, progress.count("geometry of all"))
            if self.keep is not None:
                places = torch.from_numpy(np.flatnonzero(self.keep)).to(values.device)
                kept = measure(values[places], label[places], progress.count("geometry of kept"))
        return Embedded(all=whole, kept=kept, plane=self._lay_out(values) if self.request.plane else None)

    def _labels(self) -> NDArray[np.int64]:
        return self.samples.label[self.rows].astype(np.int64)

    def _lay_out(self, values: Tensor) -> Plane:
        """Some thousand samples in the plane, chosen by the hashes of their keys."""
        hashes = hash_keys([self.samples.keys[row] for row in self.rows])
        chosen = np.argsort(hashes, kind="stable")[:MOST_POINTS]
        return Plane(
            place=lay_out(values[torch.from_numpy(chosen).to(values.device)].cpu().numpy()),
            label=self._labels()[chosen],
            kept=None if self.keep is None else self.keep[chosen],
            classes=self.samples.classes,
            samples=len(self.rows),
        )
