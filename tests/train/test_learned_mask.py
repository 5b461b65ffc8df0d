"""A mask that is learned in a real training run: here, because the toy runs are here."""

from __future__ import annotations

import torch
from toy_fits import make_config, make_data, make_fit, make_model, same, weights

from dprune_cli.scores.adapruner import AdaPruner


def fit_mask(learner, model, epochs, last=None, **options):
    fit = make_fit(
        make_config(epochs=epochs, batch_size=16, lr=0.02),
        data=make_data((60, 36, 18, 6)),
        model=model,
        weighter=learner,
        **options,
    )
    fit.train(last)
    return fit


def test_training_with_a_mask_and_resuming_it(tmp_path):
    score = AdaPruner(keep=0.8)
    model = make_model()
    make_fit(make_config(epochs=6, batch_size=16), data=make_data((60, 36, 18, 6)), model=model).train()
    trained = weights(model)
    results = []
    for stop in (None, 2):
        learner = score.sequel(5).learner
        model = make_model()
        model.load_state_dict(trained)
        state = tmp_path / str(stop)
        if stop:
            fit_mask(learner, model, 5, stop, state_file=state)
            learner, model = score.sequel(5).learner, make_model()
        fit_mask(learner, model, 5, state_file=state)
        results.append((weights(model), learner.result()[0], dict(learner.state)))
    (plain, mask, state), (resumed, again, other) = results
    assert same(plain, resumed) and torch.equal(mask, again) and same(state, other)
    assert mask.isfinite().all() and len(mask.unique()) > 100
    assert score.facts(learned=torch.stack([mask, mask]))["within_2_points"]
