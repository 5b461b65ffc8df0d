from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from dprune_cli.core.errors import DpruneError
from dprune_cli.models.compiled import compile_model


def refusing(graph, inputs):
    raise OSError("no compiler here\nand more lines")


def test_a_failure_to_compile_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=refusing))
    forward = compile_model(nn.Linear(3, 2))
    with pytest.raises(DpruneError) as caught:
        forward(torch.zeros(4, 3))
    message = str(caught.value)
    assert "(OSError: no compiler here)" in message and "drop --compile" in message and "\n" not in message
    assert caught.value.__cause__ is not None


def test_other_failures_are_not_blamed_on_the_compiler(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        compile_model(nn.Linear(3, 2))(torch.zeros(4, 5))


def test_a_compiled_model_gives_the_same_logits(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = nn.Linear(3, 2)
    images = torch.rand(4, 3)
    assert torch.equal(compile_model(model)(images), model(images))
