"""GLISTER, data selection by its effect on validation loss.

Killamsetty, Sivasubramanian, Ramakrishnan, Iyer, "GLISTER: Generalization based Data Subset Selection for
Efficient and Robust Learning", AAAI 2021, the greedy subset selection of GLISTER-ONLINE with last-layer
gradients, https://arxiv.org/abs/2012.10630
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dprune_cli.core.errors import UsageError
from dprune_cli.core.info import ScoreInfo
from dprune_cli.scores._embedding import last_pass, points
from dprune_cli.scores._greedy import as_ranks, count_picks, in_double, parse_picks
from dprune_cli.scores.base import Score, register
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import Field, Phase, RunInfo, embedding_of, logits_of, target_of

# Gains that agree to so many decimals of the largest are equal, and the tie goes to the order of the points
# instead of to the rounding of sums, which depends on where in a matrix a row stands.
_DECIMALS = 12


@dataclass(frozen=True)
class Layer:
    """Samples as a linear classifier sees them.

    Attributes:
        inputs: (n, D) float32 embeddings h.
        logits: (n, C) float64.
        target: (n,) class ids.
    """

    inputs: Tensor
    logits: Tensor
    target: Tensor


def errors(logits: Tensor, target: Tensor) -> Tensor:
    """(n, C) p - y, the gradient of the cross-entropy in the logits."""
    return logits.softmax(1) - F.one_hot(target, logits.shape[1])


def sum_gradients(error: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The summed gradient of the layer: bias (C,) sum_i e_i and weight (C, D) sum_i e_i h_i^T."""
    weight = torch.zeros(error.shape[1], inputs.shape[1], dtype=error.dtype, device=error.device)
    for part, block in in_double(inputs):
        weight += error[part].T @ block
    return error.sum(0), weight


def project(inputs: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
    """(n, C) G_b + G_W h of every sample: what a step of -G takes from its logits."""
    out = torch.empty(len(inputs), len(bias), dtype=bias.dtype, device=bias.device)
    for part, block in in_double(inputs):
        torch.addmm(bias, block, weight.T, out=out[part])
    return out


def gains(train: Layer, error: Tensor, validation: Layer, step: tuple[Tensor, Tensor] | None) -> Tensor:
    """(n,) <g_i, gbar>: by how much a step along sample i lowers the mean validation loss, to first order.

    g_i = [e_i ; e_i h_i^T] is a gradient of the layer's bias and weight, so its product with the mean
    validation gradient is e_i (Gbar_b + Gbar_W h_i), and no sample's C x D gradient is ever made.

    Args:
        train: the samples to choose from.
        error: (n, C) their p - y.
        validation: the validation samples.
        step: what is taken from the layer's bias and weight before; None for nothing.
    """
    logits = validation.logits
    if step is not None:
        logits = logits - project(validation.inputs, *step)
    bias, weight = sum_gradients(errors(logits, validation.target), validation.inputs)
    count = len(validation.target)
    return (error * project(train.inputs, bias / count, weight / count)).sum(1)


def round_sizes(rounds: int, picks: int) -> Iterator[int]:
    """Picks of one round after the other: a round takes 1 / rounds of what is there already, at least 1.

    So at every budget B no round was larger than B / rounds, as if the budget had been known.

    >>> list(round_sizes(2, 12))
    [1, 1, 1, 1, 2, 3, 3]
    """
    done = 0
    while done < picks:
        size = min(max(1, done // rounds), picks - done)
        done += size
        yield size


def order_by_gain(train: Layer, validation: Layer, eta: float, rounds: int, picks: int) -> Tensor:
    """(n,) the samples in order: picks, then the rest by gain after the last pick.

    A round costs O((n + V) C D) time; about rounds * ln(picks / rounds) + rounds of them are made. Memory
    is O((n + V) C) beside the embeddings.

    Args:
        train: n samples to choose from.
        validation: V samples.
        eta: size of the step along the summed gradient of the picks.
        rounds: the larger, the more often gains are computed anew; n for after every pick.
        picks: how many picks are made before the rest is ordered.
    """
    error = errors(train.logits, train.target)
    bias = torch.zeros(error.shape[1], dtype=error.dtype, device=error.device)
    weight = torch.zeros(error.shape[1], train.inputs.shape[1], dtype=error.dtype, device=error.device)
    order = [torch.empty(0, dtype=torch.int64, device=error.device)]
    taken = torch.zeros(len(error), dtype=torch.bool, device=error.device)
    step = None
    for size in round_sizes(rounds, picks):
        best = _sort(gains(train, error, validation, step), taken)[:size]
        order.append(best)
        taken[best] = True
        more_bias, more_weight = sum_gradients(error[best], train.inputs[best])
        bias += more_bias
        weight += more_weight
        step = (eta * bias, eta * weight)
    if picks < len(error):
        order.append(_sort(gains(train, error, validation, step), taken)[: len(error) - picks])
    return torch.cat(order)


def _sort(gain: Tensor, taken: Tensor) -> Tensor:
    """(n,) highest gain first, those that are taken last."""
    scale = gain.abs().max().clamp_min(torch.finfo(gain.dtype).tiny)
    gain = (gain / scale).round(decimals=_DECIMALS)
    return gain.masked_fill_(taken, float("-inf")).argsort(descending=True, stable=True)


@register
@dataclass(frozen=True, kw_only=True)
class Glister(Score):
    """Place in the greedy order of gains <g_i, gbar>; gbar is the mean validation gradient after the picks.

    g = [p - y ; (p - y) h^T] is the gradient of the last layer. After a round with picks S the validation
    logits become out - eta sum_{i in S} (g_i,b + g_i,W h) and gbar is computed anew. Ranks are 1 ... n.
    Watches embeddings and logits of the clean passes over training and validation data after the last
    epoch. With `picks` fewer than all (10%, 5000), the ranks after them go by gain then. One order serves
    every budget, so a round has no fixed size: it takes 1 / `rounds` of what is picked already, and at no
    budget B more than B / `rounds`. `eta` is the step along the summed gradient of the picks; its default
    is the default recipe's learning rate over its batch size, 0.1 / 128, so that one step moves the layer as
    far as an epoch of SGD on the picks would, to first order.
    Departs from the paper: the model is trained once, on everything, and samples are chosen once.
    """

    info = ScoreInfo(
        name="glister",
        title="GLISTER",
        paper="https://arxiv.org/abs/2012.10630",
        keep_first="low",
        hard_end=None,
    )
    eta: float = 0.1 / 128
    rounds: int = 15
    picks: str = "100%"

    def recorders(self, epochs: int) -> dict[str, Recorder]:
        """Embeddings and logits of training and validation samples, and the labels of the latter."""
        parse_picks(self.info.name, self.picks)
        if not 0 <= self.eta < float("inf"):
            raise UsageError(f"glister:eta={self.eta} is no size of a step; give 0 or more")
        if self.rounds < 1:
            raise UsageError(f"glister:rounds={self.rounds} makes no picks; give 1 or more")
        return {
            "embedding": last_pass(embedding_of, epochs, Field.EMBEDDING),
            "logits": last_pass(logits_of, epochs, Field.LOGITS),
            "val_embedding": last_pass(embedding_of, epochs, Field.EMBEDDING, phase=Phase.VALIDATION),
            "val_logits": last_pass(logits_of, epochs, Field.LOGITS, phase=Phase.VALIDATION),
            "val_target": last_pass(target_of, epochs, phase=Phase.VALIDATION),
        }

    def compute(  # type: ignore[override]
        self,
        run: RunInfo,
        *,
        embedding: Tensor,
        logits: Tensor,
        val_embedding: Tensor,
        val_logits: Tensor,
        val_target: Tensor,
    ) -> Tensor:
        """(N,) ranks; NaN for samples without an embedding."""
        found = points(run, embedding)
        seen = ~val_embedding[:, 0].isnan()
        order = order_by_gain(
            Layer(found.features, logits[found.rows].double(), found.target),
            Layer(val_embedding[seen], val_logits[seen].double(), val_target[seen].long()),
            self.eta,
            self.rounds,
            count_picks(parse_picks(self.info.name, self.picks), len(found.rows)),
        )
        return found.spread(as_ranks(order), run.samples)
