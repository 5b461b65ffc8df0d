"""Entropy of the prediction.

Coleman et al., "Selection via Proxy: Efficient Data Selection for Deep Learning", ICLR 2020, section 2.2,
https://arxiv.org/abs/1906.11829
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores.base import Score, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, Phase, RunInfo
from dprune_cli.train.recorders import VisitMean


def prediction_entropy(obs: BatchObs) -> Tensor:
    """(B,) -sum_c p_c log p_c in nats with 0 log 0 = 0, between 0 and log C.

    >>> from dprune_cli.train.observe import observe
    >>> logits = torch.tensor([[0.0, 0.0], [200.0, -200.0]])
    >>> obs = observe(Phase.PROBE, 1, torch.tensor([0, 1]), torch.tensor([1, 0]), logits)
    >>> [round(value, 4) for value in prediction_entropy(obs).tolist()]
    [0.6931, 0.0]
    """
    return torch.special.entr(obs.logits.softmax(1)).sum(1)


@register
@dataclass(frozen=True, kw_only=True)
class Entropy(Score):
    """Entropy of the fully trained model's prediction: s_i = -sum_c p_ic log p_ic, in [0, log C].

    Watches one clean pass in eval mode at the end of the run. As in the paper.
    """

    info = ScoreInfo(
        name="entropy",
        title="Prediction entropy",
        paper="https://arxiv.org/abs/1906.11829",
        keep_first="high",
        hard_end="high",
    )

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The entropy in the clean pass after the last epoch."""
        return {"entropies": VisitMean(prediction_entropy, Phase.PROBE, frozenset({epochs}))}

    def compute(self, run: RunInfo, *, entropies: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) the entropies."""
        return entropies
