"""A trajectory of random logits, and scores computed from it through `train.replay`."""

from __future__ import annotations

import numpy as np
import torch

from dprune_cli.io.trajectory import BOTH, Pass
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import RunInfo
from dprune_cli.train.replay import replay

SIZES = (17, 9, 4, 1)
LABELS = np.repeat(np.arange(4), SIZES)
KEYS = [f"key{row}" for row in range(len(LABELS))]


def make_logits(epochs, seed=0):
    """(E, 2, N, C) float32 logits of training visits and clean passes; some samples are learned."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (epochs, 2, len(LABELS), len(SIZES)))
    logits[:, :, np.arange(len(LABELS)), LABELS] += rng.normal(0, 3, len(LABELS))
    return logits.astype(np.float32)


def make_info(epochs, seed=0, labels=LABELS):
    return RunInfo(KEYS[: len(labels)], torch.from_numpy(np.asarray(labels)).long(), 4, epochs, seed)


def batches(logits, size=7, seed=None):
    """The passes of a run in batches; in a random order of rows where there is a seed."""
    count = logits.shape[2]
    for epoch, passes in enumerate(logits, 1):
        for phase, values in zip(("train", "probe"), passes, strict=True):
            order = np.arange(count)
            if seed is not None:
                order = np.random.default_rng([seed, epoch]).permutation(count)
            for first in range(0, count, size):
                rows = order[first : first + size]
                yield Pass(0, epoch, phase), rows, values[rows]


def compute(specs, logits, info=None, **options):
    """(N,) float64 arrays of the scores, all fed from one replay."""
    info = info or make_info(len(logits))
    scores = [SCORES.make(spec) for spec in specs]
    needs = [score.recorders(len(logits)) for score in scores]
    unique = {}
    needs = [{name: unique.setdefault(one, one) for name, one in watched.items()} for watched in needs]
    replay(batches(logits, **options), list(unique), info)
    found = []
    for score, watched in zip(scores, needs, strict=True):
        recorded = {name: recorder.result() for name, recorder in watched.items()}
        found.append(score.compute(info, **recorded).double().numpy())
    return found


def compute_by_hand(spec, passes, labels, phase=BOTH):
    """Scores of samples whose logits (E, N, C) are written out."""
    passes = np.array(passes, np.float32)
    info = RunInfo(KEYS[: len(labels)], torch.tensor(labels), passes.shape[2], len(passes))
    score = SCORES.make(spec)
    watched = score.recorders(len(passes))
    rows = np.arange(len(labels))
    replay(
        ((Pass(0, epoch, phase), rows, one) for epoch, one in enumerate(passes, 1)),
        list(watched.values()),
        info,
    )
    return score.compute(info, **{name: one.result() for name, one in watched.items()}).tolist()
