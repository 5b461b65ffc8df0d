"""The one per-sample loss: trained on, shown to recorders, weighed by masks and differentiated for GraNd.

Whatever learns from losses takes them from here as (B,) numbers, so another task needs another function
of this shape and nothing else.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def sample_loss(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B,) cross-entropy in nats of (B, C) logits against (B,) class ids.

    >>> import torch
    >>> sample_loss(torch.zeros(1, 4), torch.tensor([2])).item() == torch.log(torch.tensor(4.0)).item()
    True
    """
    return F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
