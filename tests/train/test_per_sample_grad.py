from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gradients import CLASSES, MEMORY, check, head, make_batch, one_by_one, shake
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models import VisionTransformer, get_model
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.ops import FrozenBatchNorm2d

from dprune_cli.models.build import build_model
from dprune_cli.train.per_sample_grad import GradNorms


def test_a_norm_worked_by_hand():
    # One input of 3, weights 0: probabilities of a half, so the gradient is (3, 3) / 2 and (1, 1) / 2.
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    _, norms = GradNorms(model, MEMORY)(torch.tensor([[[[3.0]]], [[[0.0]]]]), torch.tensor([0, 1]))
    assert norms.tolist() == pytest.approx([5**0.5, 0.5**0.5])


@pytest.mark.parametrize("name", ["tiny", "resnet18", "vgg16"])
def test_own_models(name):
    check(build_model(name, CLASSES, 16, seed=3), "hooks", side=16, samples=3)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_models_of_torchvision(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_model(name, weights=None, num_classes=CLASSES)
    check(model, "hooks", side=32, samples=2)


def test_convnext_needs_torch_func():
    # Layer norm with channels first, and scales of layers that belong to no layer.
    stages = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)]
    check(ConvNeXt(stages, num_classes=CLASSES), "func", side=32, samples=3)


def test_a_transformer_needs_torch_func():
    # Its class token has no layer, and attention uses weights without calling theirs.
    check(VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES), "func", side=32)


@pytest.mark.parametrize("trained", ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"])
def test_one_trainable_parameter(trained):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), *head(144))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == trained)
    check(model, "hooks")


def test_a_frozen_backbone():
    model = build_model("resnet18", CLASSES, 16, seed=0).requires_grad_(False)
    model.fc.requires_grad_(True)
    got = check(shake(model), "hooks", side=16)
    features = nn.Sequential(*list(model.children())[:-1])(make_batch(side=16)[0]).flatten(1)
    error = model.fc(features).softmax(1) - F.one_hot(make_batch()[1], CLASSES)
    torch.testing.assert_close(got, error.norm(dim=1) * (1 + features.square().sum(1)).sqrt())


def test_nothing_to_train_means_no_gradient():
    model = build_model("tiny", CLASSES, 16, seed=0).requires_grad_(False).eval()
    logits, norms = GradNorms(model, MEMORY)(*make_batch(side=16))
    assert norms.tolist() == [0.0] * 5
    assert torch.equal(logits, model(make_batch(side=16)[0]))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.shared, self.head = (
            nn.Conv2d(3, 4, 3, 1, 1),
            nn.Conv2d(4, 4, 3, 1, 1),
            nn.Linear(4, CLASSES),
        )

    def forward(self, images):
        return self.head(self.shared(self.shared(self.first(images)).relu()).mean((2, 3)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(3 * 64, CLASSES)
        self.second.weight = self.first.weight

    def forward(self, images):
        return self.head(self.second(self.first(images).tanh()).flatten(1))


class Token(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.head = nn.Parameter(torch.ones(3)), nn.Linear(3, CLASSES)

    def forward(self, images):
        return self.head(images.mean((2, 3)) * self.token)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused, self.head = nn.Linear(7, 7), nn.Linear(3, CLASSES)

    def forward(self, images):
        return self.head(images.mean((2, 3)))


class Unseen(nn.Module):
    """Uses a weight both through its layer and behind its back."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, CLASSES)

    def forward(self, images):
        features = images.mean((2, 3))
        return self.head(features) + 0.5 * F.linear(features.square(), self.head.weight)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, images):
        tokens = images.flatten(1, 2)
        return self.head(self.attend(tokens, tokens, tokens)[0].mean(1))


class Positions(nn.Module):
    """Mixes the batch into another dimension, as windows of a picture are."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(8, 4), nn.Linear(3 * 8 * 4, CLASSES)

    def forward(self, images):
        return self.head(self.inner(images.flatten(0, 1)).tanh().reshape(len(images), -1))


class SequenceFirst(nn.Module):
    """Positions before samples; as many of them as the first trial has samples."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(96, 4), nn.Linear(8, CLASSES)

    def forward(self, images):
        sequence = images.flatten(1).reshape(len(images), 2, 96).transpose(0, 1)
        return self.head(self.inner(sequence).tanh().transpose(0, 1).flatten(1))


class Branching(nn.Module):
    """Takes a path of its own for every sample."""

    def __init__(self):
        super().__init__()
        self.some, self.others = nn.Linear(3, CLASSES), nn.Linear(3, CLASSES)

    def forward(self, images):
        features = images.mean((2, 3))
        return torch.stack([(self.some if row.sum() > 0 else self.others)(row) for row in features])


@pytest.mark.parametrize(
    ("model", "way"),
    [
        (Twice, "func"),
        (Tied, "func"),
        (Token, "func"),
        (Unused, "func"),
        (Unseen, "func"),
        (Attention, "func"),
        (Positions, "func"),
        (SequenceFirst, "func"),
        (Branching, "backward"),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), *head(144)),
            "func",
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), *head(144)), "hooks"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), *head(144)), "func"),
    ],
)
def test_what_hooks_cannot_see_falls_back(model, way):
    check(model(), way)


def test_batch_norm_without_running_statistics_sees_each_sample_alone():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), *head(144)
    )
    model = shake(model)
    pixels, target = make_batch()
    norms = GradNorms(model, MEMORY)
    logits, got = norms(pixels, target)
    right_logits, right = one_by_one(model, pixels, target)
    assert norms.way != "hooks"
    torch.testing.assert_close(got, right, rtol=1e-4, atol=0)
    torch.testing.assert_close(logits, right_logits)


class Overwriting(nn.Module):
    """Writes over a layer's input once the layer has seen it."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, CLASSES)
        self.inner.bias.requires_grad_(False)

    def forward(self, images):
        features = images.mean((2, 3))
        kept = features.clone()
        out = self.inner(features)
        if not self.inner.weight.requires_grad:
            features.zero_()
        return self.head(out + 0 * kept.sum())


def test_an_input_that_was_overwritten_is_not_used():
    check(Overwriting(), "func")


class LaterTwice(nn.Module):
    """Calls its inner layer twice, but only for batches with a bright image."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, CLASSES)

    def forward(self, images):
        features = self.inner(images.mean((2, 3)))
        if bool(images.max() > 100):
            features = self.inner(features)
        return self.head(features)


def test_a_model_that_changes_its_path_later_falls_back_then():
    model = LaterTwice().eval()
    pixels, target = make_batch()
    norms = GradNorms(model, MEMORY)
    norms(pixels, target)
    assert norms.way == "hooks"
    pixels[:] += 200
    _, got = norms(pixels, target)
    assert norms.way == "backward"
    torch.testing.assert_close(got, one_by_one(model, pixels, target)[1], rtol=1e-4, atol=0)


def test_a_single_sample_and_other_sizes_of_images():
    model = shake(build_model("tiny", CLASSES, 16, seed=0))
    norms = GradNorms(model, MEMORY)
    for samples, side in [(1, 16), (4, 16), (3, 24)]:
        batch = make_batch(samples, side)
        torch.testing.assert_close(norms(*batch)[1], one_by_one(model, *batch)[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("sure", [30.0, 200.0])
def test_samples_that_the_model_is_sure_of(sure):
    model = shake(build_model("tiny", CLASSES, 16, seed=0))
    with torch.no_grad():
        model.head.bias[0] = sure
    norms = GradNorms(model, MEMORY)
    _, got = norms(*make_batch(side=16))
    assert norms.way == "hooks"
    assert bool((got[:3] < 1e-5).all()) and bool((got[3:] > 1).all())


@pytest.mark.parametrize("model", [lambda: build_model("tiny", CLASSES, 16, seed=0), Token, Branching])
def test_little_memory_means_one_sample_at_a_time(model):
    model = shake(model())
    pixels, target = make_batch(side=16)
    seen = []
    handle = model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    small, large = GradNorms(model, 1), GradNorms(model, MEMORY)
    small(pixels, target)
    seen.clear()
    logits, got = small(pixels, target)
    assert seen == [1] * 5
    handle.remove()
    right_logits, right = large(pixels, target)
    torch.testing.assert_close(got, right, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(logits, right_logits, rtol=1e-5, atol=1e-5)


def test_more_memory_takes_more_samples_at_a_time():
    model = shake(build_model("tiny", CLASSES, 16, seed=0))
    batch = make_batch(64, 16)
    sizes = []
    for memory in (2 * 10**7, 10**8):
        norms = GradNorms(model, memory)
        norms(*batch)
        sizes.append(norms._size(batch[0]))
    assert 1 <= sizes[0] < sizes[1]
    # What one image needs does not hang on the batch that it is part of.
    assert GradNorms(model, 10**8)._size(make_batch(2, 16)[0]) == sizes[1]


def test_training_mode_is_refused():
    model = build_model("tiny", CLASSES, 16, seed=0).train()
    with pytest.raises(RuntimeError, match=re.escape("model.eval()")):
        GradNorms(model, MEMORY)(*make_batch(side=16))


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.fails = nn.Linear(3, CLASSES), False

    def forward(self, images):
        logits = self.inner(images.mean((2, 3)))
        if self.fails:
            raise ZeroDivisionError
        return logits


def test_nothing_stays_on_a_model_that_fails():
    model = Failing().eval()
    norms = GradNorms(model, MEMORY)
    norms(*make_batch())
    model.fails = True
    with pytest.raises(ZeroDivisionError):
        norms(*make_batch())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not model.inner._forward_hooks


def test_gradients_that_were_there_stay():
    model = shake(build_model("tiny", CLASSES, 16, seed=0))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    GradNorms(model, MEMORY)(*make_batch(side=16))
    assert all(bool((parameter.grad == 2).all()) for parameter in model.parameters())


def test_neither_the_callers_autocast_nor_its_gradient_mode_matters():
    model = shake(build_model("tiny", CLASSES, 16, seed=0))
    batch = make_batch(side=16)
    right = GradNorms(model, MEMORY)(*batch)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = GradNorms(model, MEMORY)(*batch)
    assert torch.equal(right[0], got[0]) and torch.equal(right[1], got[1])


_PEAK = """
import re, sys, torch
from pathlib import Path
from dprune_cli.models.build import build_model
from dprune_cli.train.per_sample_grad import GradNorms

def high_water():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

torch.set_num_threads(1)
model = build_model(sys.argv[1], 10, 32, seed=0).eval()
samples, memory = int(sys.argv[2]), int(sys.argv[3])
pixels = torch.randn(samples, 3, 32, 32).to(memory_format=torch.channels_last)
target = torch.arange(samples) % 10
GradNorms(model, 1)(pixels[:1], target[:1])
before = high_water()
norms = GradNorms(model, memory)
norms(pixels, target)
print(high_water() - before, norms._size(pixels))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's process status")
@pytest.mark.parametrize(
    ("name", "samples", "memory"),
    [
        ("tiny", 512, 6 * 10**7),
        pytest.param("resnet18", 96, 4 * 10**8, marks=pytest.mark.slow),
        pytest.param("vgg16", 128, 3 * 10**8, marks=pytest.mark.slow),
    ],
)
def test_the_memory_given_is_enough(name, samples, memory):
    command = [sys.executable, "-c", _PEAK, name, str(samples), str(memory)]
    took, size = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    # It must be used too: all samples at once would not fit.
    assert 1 < size < samples
    assert 0.2 * memory < took <= memory
