"""AUM, the area under the margin.

Pleiss, Zhang, Elenberg, Weinberger, "Identifying Mislabeled Data using the Area Under the Margin
Ranking", NeurIPS 2020, section 3, https://arxiv.org/abs/2001.10528
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores.base import Score, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import RunInfo, margin
from dprune_cli.train.recorders import VisitMean


@register
@dataclass(frozen=True, kw_only=True)
class Aum(Score):
    """Mean margin over the training run: s_i = mean_t (z_iy - max_{c != y} z_ic), any real number.

    Watches the logits of the training visits. Low means hard or mislabelled; the paper removes that end.
    Departs from the paper: no threshold samples with an extra class; AUM only ranks here.
    """

    info = ScoreInfo(
        name="aum",
        title="Area under the margin",
        paper="https://arxiv.org/abs/2001.10528",
        keep_first="high",
        hard_end="low",
    )

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """The margin of every training visit."""
        return {"margins": VisitMean(margin)}

    def compute(self, run: RunInfo, *, margins: Tensor) -> Tensor:  # type: ignore[override]
        """(N,) the mean margins."""
        return margins
