"""A trajectory of random logits, embeddings and gradients, and scores computed from it."""

from __future__ import annotations

import numpy as np
import torch

from dprune_cli.io.trajectory import BOTH, Pass
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import Phase, RunInfo, observe
from dprune_cli.train.replay import replay

SIZES = (17, 9, 4, 2)
LABELS = np.repeat(np.arange(4), SIZES)
VALIDATION = np.repeat(np.arange(4), (5, 1, 4, 2))
WIDTH = 5
KEYS = [f"key{row}" for row in range(len(LABELS))]


def make_logits(epochs, seed=0):
    """(E, 2, N, C) float32 logits of training visits and clean passes; some samples are learned."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (epochs, 2, len(LABELS), len(SIZES)))
    logits[:, :, np.arange(len(LABELS)), LABELS] += rng.normal(0, 3, len(LABELS))
    return logits.astype(np.float32)


def every_score(epochs):
    """Every registered score, with windows that fit into a schedule of few epochs."""
    short = {"dyn_unc": f"dyn_unc:window={min(epochs, 10)}", "tdds": f"tdds:window={min(epochs, 10)}"}
    return [short.get(name, name) for name in SCORES.names()]


def make_info(epochs, seed=0, labels=LABELS):
    target = torch.from_numpy(np.asarray(labels)).long()
    return RunInfo(KEYS[: len(labels)], target, 4, epochs, seed, validation=len(VALIDATION))


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


def observations(logits, **options):
    """What a live run would show: the passes, each with what can be asked for, and validation passes."""
    rng = np.random.default_rng(4)
    embeddings = rng.normal(size=(len(logits), len(LABELS), WIDTH)) + np.eye(4, WIDTH)[LABELS]
    norms = rng.gamma(2.0, size=(len(logits), len(LABELS)))
    count = len(VALIDATION)
    theirs = rng.normal(size=(len(logits), count, 4 + WIDTH))
    target = torch.from_numpy(LABELS)
    shown = set()
    for at, rows, values in batches(logits, **options):
        index = torch.from_numpy(rows)
        extra = (torch.from_numpy(one[at.epoch - 1][rows]).float() for one in (embeddings, norms))
        yield observe(Phase(at.phase), at.epoch, index, target[index], torch.from_numpy(values), *extra)
        if at.epoch not in shown:
            shown.add(at.epoch)
            seen = torch.from_numpy(theirs[at.epoch - 1]).float().split([4, WIDTH], 1)
            index = torch.arange(count)
            yield observe(Phase.VALIDATION, at.epoch, index, torch.from_numpy(VALIDATION), *seen)


def compute(specs, logits, info=None, **options):
    """(N,) float64 arrays of the scores, all fed from one run; what a sequel learns is made up."""
    info = info or make_info(len(logits))
    scores = [SCORES.make(spec) for spec in specs]
    needs = [score.recorders(len(logits)) for score in scores]
    unique = {}
    needs = [{name: unique.setdefault(one, one) for name, one in watched.items()} for watched in needs]
    for recorder in unique:
        recorder.start(info)
    for obs in observations(logits, **options):
        for recorder in unique:
            watched = recorder.epochs is None or obs.epoch in recorder.epochs
            if recorder.phase is obs.phase and watched:
                recorder.update(obs)
    found = []
    for score, watched in zip(scores, needs, strict=True):
        recorded = {name: recorder.result() for name, recorder in watched.items()}
        if score.sequel(len(logits)):
            recorded["learned"] = torch.linspace(-1, 1, len(LABELS)).repeat(2, 1)
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
