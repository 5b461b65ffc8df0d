"""The head of a classifier, which is the linear layer that gives the logits, and the embeddings it sees.

The order in which layers are registered need not be the order in which they are called, so `build_model`
passes blank images through every new model and writes the name of its head into the attribute `HEAD`;
None stands for a model whose logits come from no linear layer. For a model without this attribute the
head is the linear layer that was registered last.
"""

from __future__ import annotations

from types import TracebackType

from torch import Tensor, nn

from dprune_cli.core.errors import UsageError

HEAD = "dprune_head"


def find_head(model: nn.Module, classes: int | None = None) -> tuple[str, nn.Linear]:
    """Name and module of the head; see the head of this module.

    Args:
        model: a classifier.
        classes: if given, layers with another number of outputs do not count.

    Raises:
        UsageError: the model has no such layer.

    >>> find_head(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2', Linear(in_features=3, out_features=2, bias=True))
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and classes in (None, module.out_features)
        and name == getattr(model, HEAD, name)
    ]
    if not found:
        wanted = "linear layer" if classes is None else f"linear layer with {classes} outputs"
        if hasattr(model, HEAD):
            wanted += " that gives its logits"
        raise UsageError(f"the model {type(model).__name__} has no {wanted}, so it has no head to look at")
    return found[-1]


class EmbeddingTap:
    """Catches what goes into the head, from when it is made until it is removed.

    Attributes:
        width: D, the size of an embedding.

    >>> import torch
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    >>> with EmbeddingTap(model) as tap:
    ...     logits = model(torch.tensor([[[5.0], [7.0]]]))
    ...     tap.take()
    tensor([[5., 7.]])
    """

    def __init__(self, model: nn.Module, classes: int | None = None) -> None:
        self.name, head = find_head(model, classes)
        self.width = head.in_features
        self._caught: Tensor | None = None
        self._hook = head.register_forward_pre_hook(self._catch)

    def take(self) -> Tensor:
        """Embeddings (B, D) of the last forward pass, with their autograd graph; they are then let go of."""
        caught, self._caught = self._caught, None
        if caught is None:
            raise RuntimeError(f"no forward pass has gone through the head {self.name!r} since the last take")
        if caught.ndim != 2:
            raise UsageError(
                f"the head {self.name!r} sees inputs of shape {tuple(caught.shape)}, not (B, {self.width})"
            )
        return caught

    def remove(self) -> None:
        """Stop looking; the model is as it was before."""
        self._hook.remove()
        self._caught = None

    def __enter__(self) -> EmbeddingTap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _catch(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._caught = inputs[0]
