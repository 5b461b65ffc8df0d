"""The registry of loss weightings; the protocol is `train.hooks.Weighter`."""

from __future__ import annotations

from dprune_cli.core.registry import Registry
from dprune_cli.train.hooks import Weighter

WEIGHTERS: Registry[Weighter] = Registry("weighter", "dprune_cli.weighters")
register = WEIGHTERS.register
