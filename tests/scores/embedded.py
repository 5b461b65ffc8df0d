"""Samples with labels and embeddings, as scores of embeddings see them."""

from __future__ import annotations

import numpy as np
import torch

from dprune_cli.io.keys import hash_keys
from dprune_cli.scores.base import SCORES
from dprune_cli.train.observe import RunInfo


def info(labels, seed=0, order=None):
    """A run over samples of these labels; `order` gives their keys another order."""
    keys = [f"k{row}" for row in (range(len(labels)) if order is None else order)]
    return RunInfo(keys, torch.as_tensor(np.asarray(labels)), max(labels) + 1, 1, seed)


def compute(spec, run, embedding):
    """(N,) scores."""
    return SCORES.make(spec).compute(run, embedding=torch.as_tensor(embedding, dtype=torch.float32)).numpy()


def in_hash_order(keys, rows):
    """The rows in the order in which scores see them."""
    hashes = hash_keys([keys[row] for row in rows])
    return [rows[place] for place in np.argsort(hashes, kind="stable")]
