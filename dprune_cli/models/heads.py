"""Transfer: a trained model of which only the head is trained on, or a small network on recorded features."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from dprune_cli.core.errors import UsageError
from dprune_cli.core.seeds import derive
from dprune_cli.models.head import find_head
from dprune_cli.models.modes import mark_frozen

HEAD_WIDTHS = "512,256"

_FAMILY = "mlp:"


def freeze_backbone(model: nn.Module) -> None:
    """Let nothing but the head of a model be trained; see `head.find_head` for which layer that is.

    Raises:
        UsageError: the model has no head.
    """
    _, head = find_head(model)
    model.requires_grad_(False)
    head.requires_grad_(True)
    mark_frozen(model)


def parse_widths(text: str) -> tuple[int, ...]:
    """The hidden widths that `--head` asks for; none of them for a linear classifier.

    Raises:
        UsageError: they are no whole numbers above 0.

    >>> parse_widths("512,256"), parse_widths("none"), parse_widths("")
    ((512, 256), (), ())
    """
    if text.strip() in ("", "none"):
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"--head {text}: write the hidden widths such as 512,256, or none")
    return tuple(map(int, words))


def mlp_name(widths: tuple[int, ...]) -> str:
    """What a run calls such a network.

    >>> mlp_name((512, 256)), mlp_name(())
    ('mlp:512,256', 'mlp:')
    """
    return _FAMILY + ",".join(map(str, widths))


def build_mlp(name: str, features: int, classes: int, *, seed: int) -> nn.Sequential:
    """A freshly initialised network for features (B, D) with logits (B, C).

    A layer norm without parameters, for features of other models come in any scale; then a linear layer and
    a ReLU for every hidden width, and a linear layer, the head. The same arguments give the same weights;
    the global random state is left as it was.

    Args:
        name: as `mlp_name` gives it.
        features: D, at least 2: a layer norm makes a single number 0.
        classes: C.
        seed: of the initial weights.

    Raises:
        UsageError: the name is none of those.

    >>> build_mlp("mlp:5", 4, 3, seed=0)[-1]
    Linear(in_features=5, out_features=3, bias=True)
    """
    if not name.startswith(_FAMILY):
        raise UsageError(f"{name} is no model of recorded features")
    widths = [features, *parse_widths(name.removeprefix(_FAMILY))]
    with torch.random.fork_rng(devices=[]):
        # As for other models: torch.manual_seed would also reseed the generators of the GPUs.
        torch.default_generator.manual_seed(derive(seed, "model"))
        hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(
            nn.LayerNorm(features, elementwise_affine=False), *hidden, nn.Linear(widths[-1], classes)
        )
