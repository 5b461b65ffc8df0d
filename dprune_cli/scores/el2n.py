"""EL2N, the norm of the error vector.

Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training",
NeurIPS 2021, definition 2.3, https://arxiv.org/abs/2107.07075
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._early import EarlyScore
from dprune_cli.scores.base import register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, Phase
from dprune_cli.train.recorders import VisitMean


def error_norm(obs: BatchObs) -> Tensor:
    """(B,) || softmax(z) - onehot(y) ||_2, between 0 and sqrt 2, float64.

    >>> from dprune_cli.train.observe import observe
    >>> logits = torch.tensor([[0.0, 0.0]])
    >>> obs = observe(Phase.PROBE, 1, torch.tensor([0]), torch.tensor([1]), logits)
    >>> round(error_norm(obs).item() ** 2, 6)
    0.5
    """
    one_hot = F.one_hot(obs.target, obs.logits.shape[1])
    # In float64: of a sample that is learned, 1 - p is what float32 rounds away.
    return torch.linalg.vector_norm(obs.logits.double().softmax(1) - one_hot, dim=1)


@register
@dataclass(frozen=True, kw_only=True)
class El2n(EarlyScore):
    """Norm of the error vector early in training: s_i = || p(x_i) - onehot(y_i) ||_2, in [0, sqrt 2].

    Watches one clean pass in eval mode after epoch `epoch`; the mean over 5 runs by default. As in the
    paper, but for the default epoch: 10 % of the schedule, at least 10 epochs, at most the whole run.
    """

    info = ScoreInfo(
        name="el2n",
        title="Error L2 norm",
        paper="https://arxiv.org/abs/2107.07075",
        keep_first="high",
        hard_end="high",
        runs=5,
    )

    def watch(self, epochs: frozenset[int]) -> Recorder:
        """The error norms in the clean passes after these epochs."""
        return VisitMean(error_norm, Phase.PROBE, epochs)
