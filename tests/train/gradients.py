"""Models with noise in every weight, and their norms by the definition."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dprune_cli.train.per_sample_grad import GradNorms

MEMORY = 10**9
CLASSES = 5


def shake(model: nn.Module) -> nn.Module:
    """Weights, biases and running statistics that are neither 0 nor 1, in eval mode."""
    generator = torch.Generator().manual_seed(1)

    def noise(tensor):
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.add_(0.3 * noise(module.running_mean))
                module.running_var.mul_(noise(module.running_var).abs() + 0.5)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * noise(parameter))
    return model.eval()


def make_batch(samples=5, side=8):
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(samples, 3, side, side, generator=generator)
    # Unequal classes, and one that is missing.
    target = torch.tensor([0, 0, 0, 1, 3])[torch.arange(samples) % 5]
    return pixels.to(memory_format=torch.channels_last), target


def one_by_one(model, pixels, target):
    """The definition: a sample at a time, through `backward` of a model left as it is otherwise."""
    logits, norms = [], []
    for image, label in zip(pixels, target, strict=True):
        model.zero_grad(set_to_none=True)
        answer = model(image[None])
        F.cross_entropy(answer, label[None]).backward()
        parts = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        norms.append(torch.stack(parts).sum().sqrt().float())
        logits.append(answer.detach()[0])
    model.zero_grad(set_to_none=True)
    return torch.stack(logits), torch.stack(norms)


def check(model, way, side=8, samples=5, memory=MEMORY):
    shake(model)
    pixels, target = make_batch(samples, side)
    state = torch.random.get_rng_state()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    norms = GradNorms(model, memory)
    logits, got = norms(pixels, target)
    assert norms.way == way
    assert torch.equal(state, torch.random.get_rng_state())
    assert flags == [parameter.requires_grad for parameter in model.parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert not logits.requires_grad and not got.requires_grad
    assert logits.dtype == got.dtype == torch.float32 and got.shape == (samples,)
    right_logits, right = one_by_one(model, pixels, target)
    torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(logits, right_logits, rtol=1e-4, atol=1e-4)
    return got


def head(inputs):
    return [nn.Flatten(), nn.Linear(inputs, CLASSES)]
