"""What scores on embeddings share: the clean pass that they watch, and the order of the points they see."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.io.keys import hash_keys
from dprune_cli.scores.base import Score
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, embedding_of
from dprune_cli.train.recorders import ByRow


@dataclass(frozen=True)
class Points:
    """The n samples that have an embedding, in the order of the seeded hashes of their keys.

    So whoever takes the first of several equals breaks ties as all of dprune does, and draws or sums that
    go along the points do not depend on the order in which samples were read.

    Attributes:
        features: (n, D) float32.
        target: (n,) class ids.
        rows: (n,) their rows among the N samples of the run.
    """

    features: Tensor
    target: Tensor
    rows: Tensor

    def spread(self, values: Tensor, samples: int) -> Tensor:
        """(N,) float64: the (n,) values in their rows, NaN elsewhere."""
        out = torch.full((samples,), float("nan"), dtype=torch.float64, device=values.device)
        out[self.rows.to(values.device)] = values.double()
        return out


def points(run: RunInfo, embedding: Tensor) -> Points:
    """The points of (N, D) embeddings; rows of NaN were never visited."""
    rows = torch.nonzero(~embedding[:, 0].isnan()).squeeze(1).cpu()
    hashes = hash_keys([run.keys[row] for row in rows.tolist()], run.seed)
    rows = rows[torch.from_numpy(hashes.argsort(kind="stable"))].to(embedding.device)
    return Points(embedding[rows], run.target.to(embedding.device)[rows], rows)


def last_pass(
    value: Callable[[BatchObs], Tensor], epochs: int, *fields: Field, phase: Phase = Phase.PROBE
) -> ByRow:
    """A recorder of `value` in the clean pass after the last epoch."""
    return ByRow(value, phase, frozenset({epochs}), frozenset(fields))


class EmbeddingScore(Score):
    """A score of nothing but the query model's embeddings after the last epoch, and labels."""

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The embeddings of the clean pass at the end."""
        return {"embedding": last_pass(embedding_of, epochs, Field.EMBEDDING)}

    def compute(self, run: RunInfo, *, embedding: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) scores; NaN for samples without an embedding."""
        found = points(run, embedding)
        return found.spread(self.values(found, run), run.samples)

    @abstractmethod
    def values(self, found: Points, run: RunInfo) -> Tensor:
        """(n,) scores of the points."""
