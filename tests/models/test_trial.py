from __future__ import annotations

import re
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dprune_cli.core.errors import UsageError
from dprune_cli.models.build import build_model
from dprune_cli.models.head import HEAD, EmbeddingTap, find_head
from dprune_cli.models.trial import try_model
from dprune_cli.models.weights import load_weights, save_weights


class Net(nn.Module):
    """Registered from the head to the body; `finish` follows the head."""

    def __init__(self, classes, finish=None):
        super().__init__()
        self.head = nn.Linear(8, classes)
        self.body = nn.Linear(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.finish = finish or nn.Identity()

    def forward(self, images):
        return self.finish(self.head(self.drop(self.norm(self.body(images.mean((2, 3)) + 1)))))


class Scale(nn.Module):
    def forward(self, logits):
        return logits * 2


class Lost(nn.Module):
    """A linear layer with as many outputs as there are classes comes after the head, for nothing."""

    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(3, classes)
        self.other = nn.Linear(3, classes)

    def forward(self, images):
        features = images.mean((2, 3))
        logits = self.head(features)
        self.other(features)
        return logits


class Functional(Net):
    """No linear layer is called."""

    def forward(self, images):
        return images.mean((2, 3)) @ self.body.weight.T @ self.head.weight.T


class Convolutional(nn.Module):
    """Logits from a convolution, behind a gate of another number of outputs."""

    def __init__(self, classes):
        super().__init__()
        self.gate = nn.Linear(3, 6)
        self.last = nn.Conv2d(6, classes, 1)

    def forward(self, images):
        return self.last(self.gate(images.mean((2, 3)))[:, :, None, None]).flatten(1)


def tried(model, classes=5):
    try_model(model, "toy", classes, 8)
    return model


@pytest.mark.parametrize("classes", [5, 8])
@pytest.mark.parametrize("finish", [None, Scale()])
def test_the_head_gives_the_logits_wherever_it_is_registered(classes, finish):
    # With 8 classes the body has as many outputs as the head and is registered last.
    model = tried(Net(classes, finish), classes)
    assert find_head(model) == find_head(model, classes) == ("head", model.head)
    with EmbeddingTap(model) as tap:
        model(torch.rand(4, 3, 8, 8))
        assert tap.take().shape == (4, 8)


def test_a_layer_whose_output_is_lost_is_no_head():
    assert find_head(tried(Lost(5)))[0] == "head"


def test_a_head_that_is_not_called_is_found_by_its_outputs():
    assert find_head(tried(Functional(5)))[0] == "head"


def test_a_model_built_elsewhere_has_the_layer_that_was_registered_last():
    assert find_head(Net(5))[0] == "body"


def test_a_gate_is_no_head():
    model = Convolutional(5)
    assert find_head(model)[0] == "gate"
    with pytest.raises(UsageError, match="no linear layer that gives its logits"):
        find_head(tried(model))


def test_transfer_replaces_the_head_alone(tmp_path):
    path = tmp_path / "m.safetensors"
    source, target = tried(Net(3), 3), tried(Net(5))
    save_weights(source, path)
    assert HEAD not in load_file(path)
    assert load_weights(target, path) == ["head.weight", "head.bias"]
    assert torch.equal(target.body.weight, source.body.weight)


def test_trying_leaves_no_trace():
    model = Net(5).train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    tried(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and model.drop.training and not model.norm.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


USER_MODULE = """
import torch
from torch import nn

class Pair(nn.Sequential):
    def forward(self, images):
        return super().forward(images), images

class Noisy(nn.Sequential):
    def forward(self, images):
        return super().forward(images + torch.rand(()))

def pair(num_classes):
    return Pair(nn.Flatten(), nn.Linear(192, num_classes))

def noisy(num_classes):
    return Noisy(nn.Flatten(), nn.Linear(192, num_classes))

def fewer(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes - 1))

def map(num_classes):
    return nn.Conv2d(3, num_classes, 1)

def unfinished(num_classes):
    return nn.Module()

def silent(num_classes):
    class Silent(nn.Module):
        def forward(self, images):
            raise AssertionError
    return Silent()
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "their_trials.py").write_text(USER_MODULE)
    yield "their_trials"
    sys.modules.pop("their_trials", None)


def refusal(name, size=8):
    with pytest.raises(UsageError) as caught:
        build_model(name, 5, size, seed=0)
    message = str(caught.value)
    assert "\n" not in message and name in message and f"{size} pixels" in message
    return message, caught.value.__cause__


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("pair", "gives a tuple"),
        ("fewer", r"gives a tensor of shape \(2, 4\) .* not logits of shape \(2, 5\)"),
        ("map", r"shape \(2, 5, 8, 8\)"),
    ],
)
def test_anything_but_logits_is_refused(user_module, factory, expected):
    message, _ = refusal(f"{user_module}:{factory}")
    assert re.search(expected, message)


@pytest.mark.parametrize(
    ("factory", "expected", "kind"),
    [("unfinished", "forward", NotImplementedError), ("silent", "(AssertionError)", AssertionError)],
)
def test_a_model_that_fails_says_why(user_module, factory, expected, kind):
    message, cause = refusal(f"{user_module}:{factory}")
    assert expected in message and isinstance(cause, kind)


def test_a_torchvision_model_for_larger_images_is_refused():
    message, cause = refusal("torchvision:alexnet", 24)
    assert "cannot take images of 24 pixels" in message and isinstance(cause, RuntimeError)


def test_noise_in_eval_mode_is_forked(user_module):
    before = torch.get_rng_state()
    build_model(f"{user_module}:noisy", 5, 8, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_built_models_know_their_heads():
    assert getattr(build_model("tiny", 5, 8, seed=0), HEAD) == "head"
    assert getattr(build_model("resnet18", 5, 8, seed=0), HEAD) == "fc"
    assert getattr(build_model("torchvision:squeezenet1_1", 5, 32, seed=0), HEAD) is None
