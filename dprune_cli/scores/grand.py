"""GraNd, the norm of the gradient.

Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training",
NeurIPS 2021, definition 2.1, https://arxiv.org/abs/2107.07075
"""

from __future__ import annotations

from dataclasses import dataclass

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._early import EarlyScore
from dprune_cli.scores.base import register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, Phase, grad_norm_of
from dprune_cli.train.recorders import VisitMean


@register
@dataclass(frozen=True, kw_only=True)
class Grand(EarlyScore):
    """Norm of the loss's gradient in all trainable parameters: s_i = || grad_theta loss(x_i, y_i) ||_2.

    Exact, of every layer; `grand_last` is the cheap form of the last layer. Watches one clean pass in
    eval mode after epoch `epoch` (10 % of the schedule, at least 10 epochs, at most the whole run); the
    mean over 5 runs by default. Departs from the paper: after some training, not at initialisation,
    where its result could not be reproduced (Kirsch, arXiv 2303.14753). No recording holds gradients.
    """

    info = ScoreInfo(
        name="grand",
        title="Gradient norm",
        paper="https://arxiv.org/abs/2107.07075",
        keep_first="high",
        hard_end="high",
        runs=5,
    )

    def watch(self, epochs: frozenset[int]) -> Recorder:
        """The gradient norms in the clean passes after these epochs."""
        return VisitMean(grad_norm_of, Phase.PROBE, epochs, frozenset({Field.GRAD_NORM}))
