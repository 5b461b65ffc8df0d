from __future__ import annotations

import pytest
import torch
from torch import nn

from dprune_cli.core.errors import UsageError
from dprune_cli.models.build import build_model
from dprune_cli.models.head import HEAD, find_head
from dprune_cli.models.heads import build_mlp, freeze_backbone, mlp_name, parse_widths
from dprune_cli.models.modes import train_mode


def trainable(model):
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def training(model):
    return [name for name, module in model.named_modules() if module.training]


# --- a frozen backbone


def two_layers():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))


def test_only_the_head_is_trainable():
    model = build_model("tiny", 3, 16, seed=0)
    freeze_backbone(model)
    assert trainable(model) == ["head.weight", "head.bias"]


def test_the_head_is_the_one_that_the_model_names():
    model = two_layers()
    setattr(model, HEAD, "0")
    freeze_backbone(model)
    assert trainable(model) == ["0.weight", "0.bias"]


def test_a_model_without_a_head_cannot_be_frozen_and_stays_trainable():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())
    with pytest.raises(UsageError, match="Sequential has no linear layer, so it has no head to look at"):
        freeze_backbone(model)
    assert trainable(model) == ["0.weight", "0.bias"]


def test_a_frozen_backbone_stays_in_eval_mode():
    model = two_layers()
    freeze_backbone(model)
    model.eval()
    train_mode(model)
    assert training(model) == ["", "3"]
    inputs = torch.arange(20.0).view(5, 4)
    before = [buffer.clone() for buffer in model.buffers()]
    # Without dropout and batch statistics, two passes in train mode are equal.
    assert torch.equal(model(inputs), model(inputs))
    assert all(torch.equal(one, two) for one, two in zip(before, model.buffers(), strict=True))


def test_any_other_model_is_wholly_in_train_mode():
    model = two_layers().eval()
    train_mode(model)
    assert training(model) == ["", "0", "1", "2", "3"]
    # Its own constants among the parameters are no reason to switch off its dropout.
    model[0].weight.requires_grad_(False)
    model.eval()
    train_mode(model)
    assert training(model) == ["", "0", "1", "2", "3"]


# --- networks on features


@pytest.mark.parametrize(
    ("text", "widths"), [("512,256", (512, 256)), (" 8 , 4 ", (8, 4)), ("7", (7,)), ("none", ()), ("", ())]
)
def test_hidden_widths(text, widths):
    assert parse_widths(text) == widths
    assert parse_widths(mlp_name(widths).removeprefix("mlp:")) == widths


@pytest.mark.parametrize("text", ["0", "5,0", "-3", "1.5", "5,", ",", "wide", "None", "5;4"])
def test_widths_that_are_none(text):
    with pytest.raises(UsageError, match="write the hidden widths such as 512,256, or none") as error:
        parse_widths(text)
    assert str(error.value).startswith(f"--head {text}: ")


def test_the_layers_of_a_network():
    model = build_mlp("mlp:6,5", 4, 3, seed=0)
    kinds = [nn.LayerNorm, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in model] == kinds
    assert [tuple(layer.weight.shape) for layer in model if isinstance(layer, nn.Linear)] == [
        (6, 4),
        (5, 6),
        (3, 5),
    ]
    assert not list(model[0].parameters())
    assert find_head(model) == ("5", model[5])
    linear = build_mlp("mlp:", 4, 3, seed=0)
    assert [type(layer) for layer in linear] == [nn.LayerNorm, nn.Linear]
    assert find_head(linear, 3) == ("1", linear[1])


def test_the_scale_of_features_does_not_matter():
    model = build_mlp("mlp:6", 4, 3, seed=0)
    features = torch.tensor([[1.0, -2.0, 0.5, 4.0], [3.0, 1.0, 4.0, 1.0]])
    torch.testing.assert_close(model(1000 * features + 7), model(features), rtol=1e-4, atol=1e-4)


def test_the_seed_sets_the_weights_and_nothing_else_moves():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (build_mlp("mlp:6", 4, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["1.weight"], other["1.weight"])


def test_a_name_of_another_model():
    with pytest.raises(UsageError, match="tiny is no model of recorded features"):
        build_mlp("tiny", 4, 3, seed=0)
