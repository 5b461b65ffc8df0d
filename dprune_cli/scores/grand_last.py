"""GraNd of the last layer, the norm of the gradient in the classifier's weights and biases.

Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training",
NeurIPS 2021, definition 2.1, https://arxiv.org/abs/2107.07075

With g = p - y, the gradient in the logits, and h, the input of the last layer, the gradient is g h^T in its
weights and g in its biases, so the squares add up to ||g||^2 ||h||^2 + ||g||^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._early import EarlyScore
from dprune_cli.scores.base import register
from dprune_cli.scores.el2n import error_norm
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, Field, Phase, embedding_of
from dprune_cli.train.recorders import VisitMean


def last_layer_norm(obs: BatchObs) -> Tensor:
    """(B,) || softmax(z) - onehot(y) ||_2 sqrt(1 + ||h||_2^2), float64.

    >>> from dprune_cli.train.observe import observe
    >>> row, logits, embedding = torch.tensor([1]), torch.zeros(1, 2), torch.tensor([[1.0, -4.0, 1.0]])
    >>> round(last_layer_norm(observe(Phase.PROBE, 1, row, row, logits, embedding)).item() ** 2, 5)
    9.5
    """
    length = torch.linalg.vector_norm(embedding_of(obs), dim=1, dtype=torch.float64)
    return error_norm(obs) * torch.hypot(length, torch.ones_like(length))


@register
@dataclass(frozen=True, kw_only=True)
class GrandLast(EarlyScore):
    """Norm of the loss's gradient in the last layer: s_i = || p_i - onehot(y_i) ||_2 sqrt(1 + ||h_i||^2).

    Watches logits and embeddings of one clean pass in eval mode after epoch `epoch` (10 % of the
    schedule, at least 10 epochs, at most the whole run); the mean over 5 runs by default. Departs from the
    paper: of all layers only the last one counts, which needs no gradients, and after some training, not
    at initialisation. The 1 is the bias's part, and stays for a classifier without one: a recording does
    not tell, and where embeddings are long it hardly matters.
    """

    info = ScoreInfo(
        name="grand_last",
        title="Gradient norm of the last layer",
        paper="https://arxiv.org/abs/2107.07075",
        keep_first="high",
        hard_end="high",
        runs=5,
    )

    def watch(self, epochs: frozenset[int]) -> Recorder:
        """The last layer's norms in the clean passes after these epochs."""
        return VisitMean(last_layer_norm, Phase.PROBE, epochs, frozenset({Field.LOGITS, Field.EMBEDDING}))
