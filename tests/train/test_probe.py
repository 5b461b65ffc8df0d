from __future__ import annotations

import numpy as np
import torch
from toy_fits import make_data, make_model, same, weights

from dprune_cli.models.modes import eval_mode
from dprune_cli.train.observe import Field, Phase
from dprune_cli.train.probe import probe


def test_a_clean_pass_changes_nothing_and_covers_every_row():
    model, data = make_model().train(), make_data()
    before = weights(model)
    seen = list(probe(model, data, epoch=7, batch=13, fields={Field.EMBEDDING}))
    assert same(before, weights(model))
    assert model.training and not model[-1]._forward_pre_hooks
    assert torch.cat([obs.index for obs in seen]).tolist() == list(range(40))
    assert [len(obs.index) for obs in seen] == [13, 13, 14]
    assert {(obs.phase, obs.epoch) for obs in seen} == {(Phase.PROBE, 7)}
    for obs in seen:
        assert torch.equal(obs.target, data.target[obs.index])


def test_the_size_of_batches_hardly_matters():
    model, data = make_model(), make_data()
    whole = torch.cat([obs.logits for obs in probe(model, data)])
    small = torch.cat([obs.logits for obs in probe(model, data, batch=7)])
    torch.testing.assert_close(whole, small, rtol=1e-5, atol=1e-6)


def test_a_pass_that_is_left_early_leaves_no_trace():
    model, data = make_model().train(), make_data()
    passes = probe(model, data, batch=10, fields={Field.EMBEDDING})
    next(passes)
    # Whoever consumes it is in its own gradient mode between two batches.
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    passes.close()
    assert model.training and not model[-1]._forward_pre_hooks
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_the_mode_is_put_back_whatever_it_was():
    model = make_model().eval()
    list(probe(model, make_data()))
    assert not model.training
    model.train()
    try:
        with eval_mode(model):
            assert not model.training
            raise ZeroDivisionError
    except ZeroDivisionError:
        assert model.training


def test_images_larger_than_the_model_are_cut_in_the_centre():
    data = make_data()
    data.inputs.size = 4
    got = []

    class Seen(torch.nn.Module):
        def forward(self, pixels):
            got.append(pixels)
            return torch.zeros(len(pixels), 4)

    list(probe(Seen(), data))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    centre = data.inputs.pixels[:, :, 2:6, 2:6].permute(0, 2, 3, 1).numpy() / 255
    expected = torch.from_numpy((centre - mean) / std).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(got[0], expected, rtol=1e-4, atol=1e-5)
