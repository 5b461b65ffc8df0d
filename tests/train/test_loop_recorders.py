"""What the loop shows to recorders."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from toy_fits import Everything, make_data, make_fit, make_validation

from dprune_cli.data.augment import normalise
from dprune_cli.train.observe import Field, Phase
from dprune_cli.train.recording import FeatureLog


def test_recorders_see_what_they_ask_for():
    train = Everything(epochs=frozenset({2}))
    probe = Everything(Phase.PROBE, frozenset({1, 3}), FeatureLog.fields)
    fit = make_fit(recorders=[train, probe])
    fit.train()
    assert {obs.epoch for obs in train.seen} == {2} and {obs.phase for obs in train.seen} == {Phase.TRAIN}
    assert {obs.epoch for obs in probe.seen} == {1, 3} and {obs.phase for obs in probe.seen} == {Phase.PROBE}
    assert all(obs.embedding is None for obs in train.seen)
    last = [obs for obs in probe.seen if obs.epoch == 3]
    head = fit.model[-1]
    for obs in last:
        assert obs.embedding.shape == (len(obs.index), 36)
        torch.testing.assert_close(obs.embedding @ head.weight.detach().T + head.bias.detach(), obs.logits)
        assert not obs.logits.requires_grad and not obs.embedding.requires_grad
    # The clean pass is in eval mode and without augmentation.
    fit.model.eval()
    with torch.no_grad():
        expected = fit.model(normalise(make_data().inputs.pixels))
    got = torch.cat([obs.logits for obs in last])[torch.cat([obs.index for obs in last]).argsort()]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_validation_is_shown_by_its_own_rows_and_measured_only_if_wanted():
    seen = Everything(Phase.VALIDATION, frozenset({2}), FeatureLog.fields)
    validation = make_validation()
    fit = make_fit(recorders=[seen], validation=validation, validate=False)
    fit.train()
    assert all("val_accuracy" not in row for row in fit.history)
    assert {(obs.epoch, obs.phase) for obs in seen.seen} == {(2, Phase.VALIDATION)}
    index = torch.cat([obs.index for obs in seen.seen])
    assert index.tolist() == validation.rows.tolist()
    assert torch.equal(torch.cat([obs.target for obs in seen.seen]), validation.target)
    assert seen.seen[0].embedding.shape == (len(index), 36)
    measured = make_fit(validation=validation)
    measured.train()
    assert all("val_accuracy" in row for row in measured.history)
    with pytest.raises(RuntimeError, match="there is none"):
        make_fit(recorders=[Everything(Phase.VALIDATION)]).train(1)


def test_gradient_norms_come_from_a_pass_of_their_own():
    plain, costly = Everything(Phase.PROBE), Everything(Phase.PROBE, None, frozenset({Field.GRAD_NORM}))
    fit = make_fit(recorders=[plain, costly], grad_memory=1)
    fit.train(1)
    assert all(obs.grad_norm is None for obs in plain.seen)
    index = torch.cat([obs.index for obs in costly.seen])
    norms = torch.cat([obs.grad_norm for obs in costly.seen])[index.argsort()]
    assert index.sort().values.tolist() == list(range(40))
    fit.model.eval()
    for row in (0, 21, 39):
        fit.model.zero_grad()
        logits = fit.model(normalise(make_data().inputs.pixels[[row]]))
        F.cross_entropy(logits, make_data().target[[row]]).backward()
        norm = sum(float((one.grad**2).sum()) for one in fit.model.parameters()) ** 0.5
        assert norms[row].item() == pytest.approx(norm, rel=1e-4)
    alone = Everything(Phase.PROBE)
    make_fit(recorders=[alone]).train(1)
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(alone.seen, plain.seen, strict=True))
