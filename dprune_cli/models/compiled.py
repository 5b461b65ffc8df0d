"""`--compile`: a model's forward pass through torch.compile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dprune_cli.core.errors import DpruneError


def compile_model(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The compiled forward pass of a model; it compiles when it is first called.

    Calling it raises `DpruneError` if it cannot be compiled, as where there is no C++ compiler.
    """
    # Not at the head of the module: importing it takes seconds, and few runs are compiled.
    from torch._dynamo.exc import BackendCompilerFailed

    compiled = torch.compile(model)

    def forward(images: Tensor) -> Tensor:
        try:
            return compiled(images)
        except BackendCompilerFailed as error:
            cause = error.inner_exception
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
            raise DpruneError(
                f"torch.compile failed ({reason}); it needs a C++ compiler; drop --compile"
            ) from error

    return forward
