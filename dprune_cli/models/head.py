"""The last linear layer of a classifier, and the embeddings that go into it."""

from __future__ import annotations

from types import TracebackType

from torch import Tensor, nn

from dprune_cli.core.errors import UsageError


def find_head(model: nn.Module, classes: int | None = None) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer, of those with `classes` outputs if that is given.

    Raises:
        UsageError: the model has no such layer.

    >>> find_head(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    ('2', Linear(in_features=3, out_features=2, bias=True))
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and classes in (None, module.out_features)
    ]
    if not found:
        wanted = "linear layer" if classes is None else f"linear layer with {classes} outputs"
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
