"""A model that fails in one of several processes."""

from __future__ import annotations

from toy_models import dropout_net

from dprune_cli.core import ranks
from dprune_cli.core.errors import DpruneError


def net(num_classes):
    """Fails in the second process."""
    if ranks.rank() == 1:
        raise DpruneError("this rank breaks")
    return dropout_net(num_classes)
