"""The registry of loss weightings; what one does is the protocol `train.hooks.Weighter`."""

from __future__ import annotations

from typing import ClassVar, Protocol

from dprune_cli.core.registry import Registry
from dprune_cli.train.hooks import Weighter


class LossWeighting(Weighter, Protocol):
    """A weighter that users can ask for.

    Attributes:
        needs: what it goes by, in words.
        needs_validation: whether it goes by recall on validation data.
        needs_weights: whether it goes by weights of a table.
    """

    needs: ClassVar[str]
    needs_validation: ClassVar[bool]
    needs_weights: ClassVar[bool]


WEIGHTERS: Registry[LossWeighting] = Registry("weighter", "dprune_cli.weighters")
register = WEIGHTERS.register
