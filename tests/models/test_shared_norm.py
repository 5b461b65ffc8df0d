from __future__ import annotations

import copy

import pytest
import torch
from many import run_together
from torch import nn

from dprune_cli.core import ranks
from dprune_cli.models.shared_norm import SharedBatchNorm1d, SharedBatchNorm2d, share_norms

# Of nine samples; a process may have none of a batch.
PARTS = {2: ([0, 3, 4, 8], [1, 2, 5, 6, 7]), 3: ([4], [], [0, 1, 2, 3, 5, 6, 7, 8])}


def make_net():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.BatchNorm1d(5, momentum=None, affine=False),
        )


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(9, 3, 4, 4, generator=generator), torch.randn(9, 5, generator=generator)


def two_steps(part):
    """Outputs of two forward passes, and the gradients and running statistics that they leave."""
    model = share_norms(make_net())
    images, pull = make_batch()
    outputs = []
    for _ in range(2):
        outputs.append(model(images[part]))
        (outputs[-1] * pull[part]).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    buffers = [buffer.double() for buffer in model.buffers()]
    # As plain numbers: tensors would travel through shared memory that ends with this process.
    return [[one.tolist() for one in found] for found in ([o.detach() for o in outputs], gradients, buffers)]


def own_steps():
    return two_steps(PARTS[ranks.size()][ranks.rank()])


@pytest.mark.parametrize("size", [2, 3])
def test_processes_normalise_by_the_batch_of_all(size):
    outputs, gradients, buffers = two_steps(list(range(9)))
    found = run_together(size, own_steps)
    for part, (own_outputs, _, own_buffers) in zip(PARTS[size], found, strict=True):
        for own, whole in zip(own_outputs, outputs, strict=True):
            torch.testing.assert_close(torch.tensor(own).reshape(-1, 5), torch.tensor(whole)[part])
        for own, whole in zip(own_buffers, buffers, strict=True):
            torch.testing.assert_close(torch.tensor(own), torch.tensor(whole))
    for place, whole in enumerate(gradients):
        total = sum(torch.tensor(own[1][place]) for own in found)
        torch.testing.assert_close(total, torch.tensor(whole), rtol=1e-4, atol=1e-4)


def test_alone_it_is_the_norm_that_it_replaces():
    plain, images = make_net(), make_batch()[0]
    shared = share_norms(copy.deepcopy(plain))
    assert [type(layer) for layer in shared if "Norm" in type(layer).__name__] == [
        SharedBatchNorm2d,
        SharedBatchNorm1d,
    ]
    assert torch.equal(plain(images), shared(images))
    assert plain.state_dict().keys() == shared.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, shared.state_dict()[name])
    assert torch.equal(plain.eval()(images), shared.eval()(images))


def test_copies_of_a_shared_norm_are_their_own():
    first = share_norms(make_net())
    second = copy.deepcopy(first)
    second[1].weight.data.add_(1)
    assert not torch.equal(first[1].weight, second[1].weight)
