from __future__ import annotations

import pytest
import torch
from torch import nn

from dprune_cli.core.errors import UsageError
from dprune_cli.models.build import build_model
from dprune_cli.models.head import EmbeddingTap, find_head


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))


def test_the_head_is_the_last_linear_layer_with_so_many_outputs():
    model = two_layers()
    assert find_head(model)[0] == "3"
    assert find_head(model, 3) == ("2", model[2])
    assert find_head(model[3]) == ("", model[3])


def test_a_model_without_a_head():
    with pytest.raises(UsageError, match="Sequential has no linear layer with 7 outputs"):
        find_head(two_layers(), 7)
    with pytest.raises(UsageError, match="ReLU has no linear layer"):
        find_head(nn.ReLU())


def test_head_times_embedding_gives_the_logits():
    model = build_model("tiny", 3, 16, seed=0)
    with EmbeddingTap(model, 3) as tap:
        logits = model(torch.ones(5, 3, 16, 16))
        embedding = tap.take()
    assert embedding.shape == (5, tap.width) == (5, 64)
    assert embedding.requires_grad
    torch.testing.assert_close(embedding @ model.head.weight.T + model.head.bias, logits)


def test_an_embedding_is_handed_out_once_and_only_while_tapped():
    model = nn.Sequential(nn.Linear(2, 2))
    tap = EmbeddingTap(model)
    model(torch.ones(1, 2))
    tap.take()
    with pytest.raises(RuntimeError, match="no forward pass"):
        tap.take()
    tap.remove()
    model(torch.ones(1, 2))
    assert not model[0]._forward_pre_hooks
    with pytest.raises(RuntimeError, match="no forward pass"):
        tap.take()


def test_watching_changes_no_logits():
    model = build_model("tiny", 3, 16, seed=0).eval()
    images = torch.rand(2, 3, 16, 16)
    plain = model(images)
    with EmbeddingTap(model):
        assert torch.equal(model(images), plain)


def test_a_head_that_sees_tokens_is_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    with EmbeddingTap(model) as tap:
        model(torch.ones(1, 5, 2))
        with pytest.raises(UsageError, match=r"shape \(1, 5, 2\)"):
            tap.take()
