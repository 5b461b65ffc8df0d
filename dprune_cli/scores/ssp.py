"""SSP, the distance to a prototype.

Sorscher, Geirhos, Shekhar, Ganguli, Morcos, "Beyond neural scaling laws: beating power law scaling via
data pruning", NeurIPS 2022, section 6, https://arxiv.org/abs/2206.14486
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.core.seeds import derive
from dprune_cli.scores._embedding import EmbeddingScore, Points
from dprune_cli.scores._geometry import distances, members, refuse_lone_samples, unit
from dprune_cli.scores.base import register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo


def cluster(vectors: Tensor, count: int, seed: int) -> Tensor:
    """(n,) numbers of the k-means clusters of (n, D) float64 vectors, which k-means may overwrite.

    k-means++ with the best of four starts.

    Raises:
        DataError: there are fewer different vectors than clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    most = len(vectors)
    if count <= most:
        means = KMeans(count, n_init=4, random_state=derive(seed, "ssp") % 2**32, copy_x=False)
        with warnings.catch_warnings():
            # Says what the error below says, but without what to do about it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = torch.from_numpy(means.fit_predict(vectors.cpu().numpy())).long()
        most = len(torch.unique(found))
    if most < count:
        raise DataError(f"ssp:clusters={count} is more than the {most} different embeddings; give fewer")
    return found.to(vectors.device)


def distance_to_mean(vectors: Tensor, metric: str) -> Tensor:
    """(n,) float64 distances of (n, D) vectors to their mean.

    The cosine distance 1 - cos is that of their directions to the mean of their directions, in [0, 2]; it
    is 1 for a vector without a direction.

    >>> distance_to_mean(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), "euclidean").tolist()
    [1.0, 1.0]
    >>> distance_to_mean(torch.tensor([[0.0, 1.0], [5.0, 0.0], [0.0, 0.0]]), "cosine")[2].item()
    1.0
    """
    if metric == "euclidean":
        return distances(vectors, vectors.mean(0, dtype=torch.float64))
    directions = unit(vectors)
    prototype = unit(directions.mean(0, keepdim=True))
    # A matrix product may round equal rows differently.
    return (1 - (directions * prototype).sum(1)).clamp(min=0)


@register
@dataclass(frozen=True, kw_only=True)
class Ssp(EmbeddingScore):
    """Distance of the embedding to its prototype: s_i = || h_i - mean{h_j : y_j = y_i} ||_2 >= 0.

    By default a prototype is the mean of a class, which makes the score supervised: the form that DRoP
    compares with. `clusters=K` takes the centroids of K k-means clusters of all samples and ignores
    labels, as in the paper. `metric=cosine`, the paper's and the default with clusters, is
    1 - cos(h_i, mean_j h_j / ||h_j||), in [0, 2]. Watches the embeddings of the clean pass at the end of
    the run. Departs from the paper: the embeddings are the query model's, where the paper takes those of
    SwAV; give features of such a model to have its form. Without clusters a class of one sample is an
    error. O(N D) memory, in double precision with clusters.
    """

    info = ScoreInfo(
        name="ssp",
        title="Distance to the prototype",
        paper="https://arxiv.org/abs/2206.14486",
        keep_first="high",
        hard_end="high",
    )
    clusters: int = 0
    metric: Literal["cosine", "euclidean"] | None = None

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The embeddings of the clean pass at the end."""
        if self.clusters < 0:
            raise UsageError(f"ssp:clusters={self.clusters} is below 0; give 0 for class means, or more")
        return super().recorders(epochs)

    def check(self, run: RunInfo) -> None:
        """Every class needs two samples, or every cluster one."""
        if not self.clusters:
            refuse_lone_samples("ssp", run, "or give ssp:clusters=K for prototypes without labels")
            return
        usable = int((run.target >= 0).sum())
        if usable < self.clusters:
            raise DataError(f"ssp:clusters={self.clusters} is more than the {usable} samples; give fewer")

    def values(self, found: Points, run: RunInfo) -> Tensor:
        """(n,) the distances."""
        metric = self.metric or ("cosine" if self.clusters else "euclidean")
        group = found.target
        if self.clusters:
            vectors = found.features.to(torch.float64, copy=True)
            group = cluster(unit(vectors) if metric == "cosine" else vectors, self.clusters, run.seed)
        out = torch.empty(len(found.rows), dtype=torch.float64, device=found.features.device)
        for rows in members(group):
            out[rows] = distance_to_mean(found.features[rows], metric)
        return out
