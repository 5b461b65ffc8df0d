"""Moderate, the distance to the centre of the own class.

Xia, Liu, Yu, Shen, Han, Liu, "Moderate Coreset: A Universal Method of Data Selection for Real-world
Data-efficient Deep Learning", ICLR 2023, section 3, https://openreview.net/forum?id=7D5EECbOaf9
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._embedding import EmbeddingScore, Points
from dprune_cli.scores._geometry import distances, members, refuse_lone_samples
from dprune_cli.scores.base import register
from dprune_cli.train.observe import RunInfo

# Columns sorted at a time: sorting makes two copies and an index of 8 bytes a number.
_COLUMNS = 64


def middle(vectors: Tensor) -> Tensor:
    """(D,) float64 coordinate-wise median of (n, D) vectors; of an even n the mean of the two in the middle.

    >>> middle(torch.tensor([[1.0, 5.0], [9.0, 5.0], [2.0, 0.0], [4.0, 7.0]])).tolist()
    [3.0, 5.0]
    """
    low, high = (len(vectors) - 1) // 2, len(vectors) // 2
    ordered = (part.sort(dim=0).values for part in torch.split(vectors, _COLUMNS, dim=1))
    return torch.cat([(part[low].double() + part[high].double()) / 2 for part in ordered])


@register
@dataclass(frozen=True, kw_only=True)
class Moderate(EmbeddingScore):
    """Distance of the embedding to the median of its class: s_i = || h_i - median{h_j : y_j = y_i} ||_2 >= 0.

    The median is taken coordinate by coordinate; the middle of all scores, whatever the class, is kept.
    Watches the embeddings of the clean pass at the end of the run. As in the paper, whose centre is the
    median in the authors' code. A class of one sample is an error. O(N D) time and memory.
    """

    info = ScoreInfo(
        name="moderate",
        title="Moderate distance to the class centre",
        paper="https://openreview.net/forum?id=7D5EECbOaf9",
        keep_first="middle",
        hard_end="high",
    )

    def check(self, run: RunInfo) -> None:
        """Every class needs two samples."""
        refuse_lone_samples("moderate", run, "or use a score that needs no class centres")

    def values(self, found: Points, run: RunInfo) -> Tensor:
        """(n,) the distances."""
        out = torch.empty(len(found.rows), dtype=torch.float64, device=found.features.device)
        for rows in members(found.target):
            own = found.features[rows]
            out[rows] = distances(own, middle(own))
        return out
