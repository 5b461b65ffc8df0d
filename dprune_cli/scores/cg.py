"""The complexity-gap score, CG.

Nohyun, Choi, Chung, "Data Valuation Without Training of a Model", ICLR 2023, the definition of CG(i) and
its stochastic calculation in the appendix, https://arxiv.org/abs/2301.00930

y^T H^-1 y bounds how far a wide two-layer ReLU network has to move to fit the labels y = +-1. CG is what
one sample adds to it: CG(i) = y^T H^-1 y - y_-i^T H_-i^-1 y_-i. Block elimination of row i gives the same
without leaving anything out: CG(i) = ((H^-1 y)_i)^2 / (H^-1)_ii.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.scores._embedding import EmbeddingScore, Points
from dprune_cli.scores._geometry import members, unit
from dprune_cli.scores.base import register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo

# Cosines nearer to 1 than this are rounding errors of equal directions, but would count as angles of up to
# 1e-7 and through them decide what the inverse is.
_SAME = 1e-13
# Squared pivots are conditional variances; different directions give more than 1e-7.
_SINGULAR = 1e-12


def kernel(vectors: Tensor) -> Tensor:
    """(n, n) H_ij = G_ij (pi - arccos G_ij) / (2 pi) with G = V V^T, of (n, D) unit vectors; H_ii = 1/2.

    Of a vector of zeros, which has no direction, H_ij = 0: it is at a right angle to every other one.

    >>> kernel(torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64))[0, 1].item() * 6
    1.0
    """
    cosine = (vectors @ vectors.T).clamp_(-1, 1)
    cosine[cosine > 1 - _SAME] = 1
    half_turns = cosine.acos().neg_().add_(math.pi).div_(2 * math.pi)
    return cosine.mul_(half_turns).fill_diagonal_(0.5)


def complexity_gaps(matrix: Tensor, count: int) -> Tensor | None:
    """CG of the last `count` samples, whose y is +1, among n of which the others have -1.

    Args:
        matrix: (n, n) H, positive definite.
        count: n or fewer.

    Returns:
        (count,) the gaps, or None if H is singular.

    >>> gaps = complexity_gaps(torch.tensor([[3.0, 1.0], [1.0, 3.0]]) / 6, 1)
    >>> round(gaps.item(), 5)  # y^T H^-1 y is 6 with both and 2 without the last
    4.0
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed or float(factor.diagonal().min()) ** 2 < _SINGULAR:
        return None
    label = torch.ones(len(matrix), 1, dtype=matrix.dtype, device=matrix.device)
    label[: len(matrix) - count] = -1
    solved = torch.cholesky_solve(label, factor)[-count:, 0]
    # The corner of the factor is that of the Schur complement, whose inverse is the corner of H^-1: only
    # this part of the inverse is wanted, and it costs an eighth of the whole.
    corner = torch.cholesky_inverse(factor[-count:, -count:])
    return solved.square() / corner.diagonal()


@register
@dataclass(frozen=True, kw_only=True)
class Cg(EmbeddingScore):
    """What a sample adds to the complexity of its labels: s_i = ((H^-1 y)_i)^2 / (H^-1)_ii >= 0.

    H is the kernel of a wide two-layer ReLU network on embeddings scaled to length 1. For every class,
    y = +1 stands for its members and y = -1 for as many others, drawn at random (all of them, if they are
    fewer); the mean over `repeats` draws. A class of more than `block` members is cut at random into equal
    blocks, anew for every repeat, each with others of its own. `ridge` is added to the diagonal of H, so
    that images there twice have a finite score: near 0 with one label, up to 2 / ridge with two. An
    embedding of zeros is at a right angle to all others and scores 2. Values depend on how many members
    their class, or block, has.

    Watches the embeddings of the clean pass at the end of the run. Departs from the paper: embeddings of
    the query model instead of pixels, blocks, and the ridge. O(N block^2) time a repeat, and memory for
    matrices of 2 block rows and columns.
    """

    info = ScoreInfo(
        name="cg",
        title="Complexity gap",
        paper="https://arxiv.org/abs/2301.00930",
        keep_first="high",
        hard_end="high",
    )
    repeats: int = 10
    ridge: float = 1e-6
    block: int = 1500

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The embeddings of the clean pass at the end."""
        if self.repeats < 1:
            raise UsageError(f"cg:repeats={self.repeats} leaves nothing to average; give 1 or more")
        if self.block < 2:
            raise UsageError(f"cg:block={self.block} is too small for a class to show; give 2 or more")
        if not (self.ridge >= 0 and math.isfinite(self.ridge)):
            raise UsageError(f"cg:ridge={self.ridge} is no ridge; give 0 or a small number such as 1e-6")
        return super().recorders(epochs)

    def check(self, run: RunInfo) -> None:
        """One class has nothing to be told from."""
        if len(torch.unique(run.target[run.target >= 0])) < 2:
            raise DataError("cg tells a class from the others, but there is only one; add samples of another")

    def values(self, found: Points, run: RunInfo) -> Tensor:
        """(n,) the means over the draws."""
        total = torch.zeros(len(found.rows), dtype=torch.float64, device=found.features.device)
        for own in members(found.target):
            number = int(found.target[own[0]])
            others = torch.nonzero(found.target != number).squeeze(1)
            blocks = math.ceil(len(own) / self.block)
            for repeat in range(self.repeats):
                rng = numpy_rng(run.seed, "cg", number, repeat)
                for part in np.array_split(rng.permutation(len(own)), blocks):
                    drawn = rng.choice(len(others), min(len(part), len(others)), replace=False)
                    mine = own[torch.from_numpy(part).to(own.device)]
                    theirs = others[torch.from_numpy(drawn).to(own.device)]
                    total[mine] += self._gaps(found, run, torch.cat([theirs, mine]), len(mine))
        return total / self.repeats

    def _gaps(self, found: Points, run: RunInfo, chosen: Tensor, count: int) -> Tensor:
        matrix = kernel(unit(found.features[chosen]))
        matrix.diagonal().add_(self.ridge)
        gaps = complexity_gaps(matrix, count)
        if gaps is not None:
            return gaps
        same = torch.nonzero(matrix.triu(1) >= 0.5)
        if not len(same):
            number = int(found.target[chosen[-1]])
            raise DataError(
                f"cg: the matrix of class {number} is singular with ridge={self.ridge:g}; "
                f"give cg:ridge={max(1e-6, 10 * self.ridge):g}"
            )
        first, second = (run.keys[row] for row in found.rows[chosen[same[0]]].tolist())
        raise DataError(
            f"cg: samples {first!r} and {second!r} have equal features, so its matrix is singular; "
            f"give cg:ridge={max(1e-6, 10 * self.ridge):g} or remove one of them"
        )
